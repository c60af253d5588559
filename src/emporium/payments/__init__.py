"""Money in and out, through payment providers."""
