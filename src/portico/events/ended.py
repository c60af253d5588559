"""Events that nobody delivers any more: those that arrived, and those that were given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from portico.events.outbox import Record

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

_TIMESTAMP_BITS = 80  # of a UUIDv7 come behind its milliseconds


class Selection(NamedTuple):
    """Which events are meant: those to which all of it applies."""

    ids: tuple[UUID, ...] = ()
    """Any, when it is empty."""
    type: str = ""
    since: datetime | None = None
    """They happened then or later,"""
    until: datetime | None = None
    """and earlier than this."""

    def parameters(self) -> dict[str, Any]:
        """As the statements below name them."""
        return {
            "ids": list(self.ids) or None,
            "type": self.type or None,
            "since": self.since,
            "until": self.until,
        }


class Ended:
    """The statements of one schema about its events that ended. All run in the caller's transaction."""

    def __init__(self, schema: str) -> None:
        """``schema`` bears the name of the module that publishes."""
        self._names = {"schema": schema, "chosen": CHOSEN}

    def revive(self, session: Connection, selection: Selection) -> int:
        """Have dead events delivered again, to those who did not get them; how many."""
        parameters = selection.parameters()
        return sum(
            self._run(session, statement, **parameters).rowcount
            for statement in (_REVIVE, _REVIVE_ELSEWHERE)
        )

    def page(
        self, session: Connection, selection: Selection, *, after: int, most: int
    ) -> list[tuple[int, Record]]:
        """Events behind number ``after`` that arrived or were given up, each with its number."""
        parameters = {**selection.parameters(), "after": after, "most": most}
        return [(row[0], Record(*row[1:])) for row in self._run(session, _PAGE, **parameters)]

    def purge(self, session: Connection, *, before: datetime, most: int) -> list[Any]:
        """Remove so many that had reached everybody ``before``, the oldest first; answers the rows."""
        parameters = {"before": before, "born_before": born(before), "most": most}
        return list(self._run(session, _PURGE, **parameters))

    def purge_notes(self, session: Connection, *, before: datetime, most: int) -> int:
        """Remove so many notes out of the inbox, made ``before``, about events from before then."""
        parameters = {"before": before, "born_before": born(before), "most": most}
        return int(self._run(session, _PURGE_NOTES, **parameters).rowcount)

    def _run(self, session: Connection, statement: str, **parameters: object) -> Any:
        return session.exec_driver_sql(statement.format_map(self._names), parameters)


def born(at: datetime) -> UUID:
    """The smallest id that an event of this moment can have; so the primary key finds the old ones."""
    return UUID(int=int(at.timestamp() * 1000) << _TIMESTAMP_BITS)


CHOSEN = """(%(ids)s::uuid[] IS NULL OR event.id = ANY(%(ids)s::uuid[]))
    AND (%(type)s::text IS NULL OR event.type = %(type)s)
    AND (%(since)s::timestamptz IS NULL OR event.occurred_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR event.occurred_at < %(until)s)"""
"""A selection as the condition on a row ``event`` of an outbox."""

_REVIVE = """
UPDATE "{schema}".outbox AS event SET dead_at = NULL, attempts = 0, next_attempt_at = NULL
WHERE dead_at IS NOT NULL AND {chosen}
"""

_REVIVE_ELSEWHERE = """
UPDATE "{schema}".outbox_elsewhere AS onward SET dead_at = NULL, attempts = 0, next_attempt_at = NULL
FROM "{schema}".outbox AS event
WHERE event.id = onward.event_id AND onward.dead_at IS NOT NULL AND {chosen}
"""

_PAGE = """
SELECT event.sequence, event.id, event.aggregatetype, event.aggregateid, event.type, event.payload, event.headers,
       event.occurred_at, event.attempts, event.next_attempt_at
FROM "{schema}".outbox AS event
WHERE sequence > %(after)s AND (delivered_at IS NOT NULL OR dead_at IS NOT NULL) AND {chosen}
ORDER BY sequence LIMIT %(most)s
"""

# What a module elsewhere has yet to get, or never got, is kept.
_PURGE = """
WITH old AS (
    SELECT id FROM "{schema}".outbox AS event
    WHERE id < %(born_before)s AND delivered_at < %(before)s AND NOT EXISTS (
        SELECT FROM "{schema}".outbox_elsewhere AS onward
        WHERE onward.event_id = event.id AND (onward.delivered_at IS NULL OR onward.delivered_at >= %(before)s))
    ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED),
onward AS (DELETE FROM "{schema}".outbox_elsewhere WHERE event_id IN (SELECT id FROM old))
DELETE FROM "{schema}".outbox WHERE id IN (SELECT id FROM old)
RETURNING id, aggregatetype, aggregateid, type, payload, headers, occurred_at, delivered_at
"""

_PURGE_NOTES = """
DELETE FROM "{schema}".inbox WHERE (event_id, consumer) IN (
    SELECT event_id, consumer FROM "{schema}".inbox
    WHERE event_id < %(born_before)s AND received_at < %(before)s
    ORDER BY event_id LIMIT %(most)s FOR UPDATE SKIP LOCKED)
"""
