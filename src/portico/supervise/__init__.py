"""Processes run by a process: a topology on one machine, the workers of a port, restarts, rolling changes."""
