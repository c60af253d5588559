"""The columns of the table: what can happen to a workflow."""

from __future__ import annotations

ORCHESTRATOR = "caller killed"
CALLEE_BEFORE = "callee killed before"
CALLEE_AFTER = "callee killed after"
LOST = "answer lost"
COMMAND_TWICE = "command twice"
EVENT_TWICE = "event twice"
DATABASE = "database restarted"
REDIS = "Redis flushed"
SCHEDULE = "random schedule"
COLUMNS = (
    ORCHESTRATOR,
    CALLEE_BEFORE,
    CALLEE_AFTER,
    LOST,
    COMMAND_TWICE,
    EVENT_TWICE,
    DATABASE,
    REDIS,
    SCHEDULE,
)
