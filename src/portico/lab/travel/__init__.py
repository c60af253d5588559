"""A small application that the laboratory runs workflows on: trips, and reservations at a neighbour."""
