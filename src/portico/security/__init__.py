"""Who is calling: signed tokens and the keys to check them with."""
