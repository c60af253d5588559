"""Accounts, and the tokens that say who is calling."""
