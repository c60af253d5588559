"""Checks that an application keeps its own rules."""
