"""The columns of the table: what can happen to a workflow."""

from __future__ import annotations

ORCHESTRATOR = "caller killed"
CALLEE_BEFORE = "callee killed before"
CALLEE_AFTER = "callee killed after"
LOST = "answer lost"
COMMAND_TWICE = "command twice"
EVENT_TWICE = "event twice"
DATABASE = "database restarted"
FLUSHED = "Redis flushed"
RESTARTED = "Redis restarted"
SCHEDULE = "random schedule"

FLUSHED_AND_KILLED = "Redis flushed, the process killed"
"""Counted as flushed: what Redis had for a process is gone, and so is what that had taken from it."""

COLUMNS = (
    ORCHESTRATOR,
    CALLEE_BEFORE,
    CALLEE_AFTER,
    LOST,
    COMMAND_TWICE,
    EVENT_TWICE,
    DATABASE,
    FLUSHED,
    RESTARTED,
    SCHEDULE,
)
