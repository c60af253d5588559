"""Events that have not reached everybody yet, and those that never will by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from portico.events.ended import CHOSEN

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

    from portico.events.ended import Selection

    State = Literal["waiting", "retrying", "dead"]


class Undelivered(NamedTuple):
    """An event and one who has yet to get it."""

    id: UUID
    type: str
    aggregate_type: str
    aggregate_id: str
    module: str
    """The one in another process that did not get it; empty while it is to be delivered in the publisher's."""
    attempts: int
    occurred_at: datetime
    next_attempt_at: datetime | None
    """Not tried before then; None when it may be at any time, and when it is dead."""
    dead_at: datetime | None
    """When it was given up; None while it is tried."""
    error: str
    """Of the last attempt; empty when there was none."""

    @property
    def state(self) -> State:
        """Waiting for its first attempt to end, failed and tried again, or given up."""
        if self.dead_at is not None:
            return "dead"
        return "retrying" if self.attempts else "waiting"


def undelivered(
    session: Connection, schema: str, selection: Selection, *, dead: bool, most: int
) -> list[Undelivered]:
    """So many of ``schema`` at the most, the oldest first; with ``dead`` only those that were given up."""
    parameters = {**selection.parameters(), "dead": dead, "most": most}
    statement = _UNDELIVERED.format_map({"schema": schema, "chosen": CHOSEN})
    return [Undelivered(*row) for row in session.exec_driver_sql(statement, parameters)]


# What is dead is in no index: those are few, and a person has the time.
_UNDELIVERED = """
SELECT event.id, event.type, event.aggregatetype, event.aggregateid, due.module, due.attempts, event.occurred_at,
       due.next_attempt_at, due.dead_at, coalesce(due.last_error, '')
FROM (
    SELECT id, '' AS module, attempts, next_attempt_at, dead_at, last_error FROM "{schema}".outbox
    WHERE delivered_at IS NULL
    UNION ALL
    SELECT event_id, module, attempts, next_attempt_at, dead_at, last_error FROM "{schema}".outbox_elsewhere
    WHERE delivered_at IS NULL) AS due
JOIN "{schema}".outbox AS event ON event.id = due.id
WHERE (due.dead_at IS NOT NULL OR NOT %(dead)s) AND {chosen}
ORDER BY event.sequence, due.module LIMIT %(most)s
"""
