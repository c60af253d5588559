"""Buying: from the price of a basket to the order and its end."""
