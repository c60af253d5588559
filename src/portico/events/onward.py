"""The table of one module's events that modules in other processes have yet to get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.events.outbox import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

    from portico.events.outbox import Limits


class Onward:
    """The statements of one schema's ``outbox_elsewhere``, as far as they are for ``modules``.

    A row for each event and module. It bears the event's number, so that the events of one aggregate
    stay in line, and those for one module wait for no other.
    """

    def __init__(self, schema: str, modules: Collection[str]) -> None:
        """``schema`` bears the name of the module that publishes."""
        self.schema = schema
        self._modules = sorted(modules)

    def hand_on(
        self, session: Connection, wanted: Sequence[tuple[Record, str]]
    ) -> list[tuple[UUID, str]]:
        """Write down that these events are for these modules, and answer what was new.

        What was written before stays as it is.
        """
        parameters = {
            "ids": [record.id for record, _ in wanted],
            "names": [module for _, module in wanted],
        }
        rows = session.exec_driver_sql(_HAND_ON.format(schema=self.schema), parameters)
        return [(event_id, module) for event_id, module in rows]

    def claim(
        self, session: Connection, *, now: datetime, window: int | None, limits: Limits
    ) -> list[Record]:
        """See ``Queue``."""
        parameters = {"now": now, "window": window, "modules": self._modules, **limits._asdict()}
        statement = _CLAIM.format(schema=self.schema, pending=_PENDING, due=_DUE)
        return [Record(*row) for row in session.exec_driver_sql(statement, parameters)]

    def is_deliverable(self, session: Connection, *, now: datetime) -> bool:
        """See ``Queue``."""
        parameters = {"now": now, "modules": self._modules}
        statement = _DELIVERABLE.format(schema=self.schema, pending=_PENDING, due=_DUE)
        return bool(session.exec_driver_sql(statement, parameters).scalar())

    def waiting(self, session: Connection) -> tuple[int, datetime | None]:
        """How many events are neither delivered nor dead, and when the first of them happened."""
        statement = _WAITING.format(schema=self.schema, pending=_PENDING)
        count, oldest = session.exec_driver_sql(statement, {"modules": self._modules}).one()
        return count, oldest

    def mark_delivered(
        self, session: Connection, records: Sequence[Record], *, at: datetime
    ) -> None:
        """See ``Queue``."""
        self._run(session, _DELIVERED, **_keys(records), at=at)

    def mark_failed(
        self,
        session: Connection,
        record: Record,
        *,
        error: str,
        retry_at: datetime | None,
        dead_at: datetime | None,
    ) -> None:
        """See ``Queue``."""
        self._run(
            session, _FAILED, **_keys([record]), error=error, retry_at=retry_at, dead_at=dead_at
        )

    def postpone(self, session: Connection, records: Sequence[Record], *, until: datetime) -> None:
        """See ``Queue``."""
        self._run(session, _POSTPONED, **_keys(records), until=until)

    def has_strays(self, session: Connection) -> bool:
        """Whether events wait for a module that is not among ``modules`` (any more)."""
        statement = _HAS_STRAYS.format(schema=self.schema, pending=_PENDING)
        return bool(session.exec_driver_sql(statement, {"modules": self._modules}).scalar())

    def take_back(self, session: Connection) -> None:
        """Put such events back into the outbox, to be delivered to whoever reacts to them now."""
        self._run(session, _TAKE_BACK, modules=self._modules)

    def _run(self, session: Connection, statement: str, **parameters: object) -> None:
        named = statement.format(schema=self.schema, pending=_PENDING, keys=_KEYS)
        session.exec_driver_sql(named, parameters)


def _keys(records: Sequence[Record]) -> dict[str, list[object]]:
    return {
        "ids": [record.id for record in records],
        "names": [record.module for record in records],
    }


_PENDING = "delivered_at IS NULL AND dead_at IS NULL"
_DUE = "(next_attempt_at IS NULL OR next_attempt_at <= %(now)s)"
_KEYS = (
    "event_id = ANY(%(ids)s::uuid[])"
    " AND (event_id, module) IN (SELECT * FROM unnest(%(ids)s::uuid[], %(names)s::text[]))"
)

_HAND_ON = """
INSERT INTO "{schema}".outbox_elsewhere (event_id, module, sequence, aggregatetype, aggregateid)
SELECT event.id, wanted.module, event.sequence, event.aggregatetype, event.aggregateid
FROM unnest(%(ids)s::uuid[], %(names)s::text[]) AS wanted (id, module)
CROSS JOIN LATERAL (SELECT * FROM "{schema}".outbox WHERE id = wanted.id OFFSET 0) AS event
ON CONFLICT DO NOTHING RETURNING event_id, module
"""

# As in the outbox: whoever has locked the first event of a line has the line.
_CLAIM = """
WITH early AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY module, aggregatetype, aggregateid ORDER BY sequence) AS place
    FROM (
        SELECT event_id, module, sequence, aggregatetype, aggregateid, attempts, next_attempt_at
        FROM "{schema}".outbox_elsewhere WHERE {pending} AND module = ANY(%(modules)s)
        ORDER BY sequence LIMIT %(window)s) AS oldest),
heads AS MATERIALIZED (SELECT * FROM early WHERE place = 1 ORDER BY sequence),
claimed AS MATERIALIZED (
    SELECT heads.module, heads.aggregatetype, heads.aggregateid FROM heads CROSS JOIN LATERAL (
        SELECT FROM "{schema}".outbox_elsewhere AS first
        WHERE first.event_id = heads.event_id AND first.module = heads.module AND {pending} AND {due}
        FOR UPDATE SKIP LOCKED) AS locked
    LIMIT %(aggregates)s),
chosen AS MATERIALIZED (
    SELECT early.* FROM early JOIN claimed USING (module, aggregatetype, aggregateid)
    WHERE early.place <= %(run)s ORDER BY early.sequence, early.module LIMIT %(most)s)
SELECT event.id, event.aggregatetype, event.aggregateid, event.type, event.payload, event.headers,
       event.occurred_at, chosen.attempts, chosen.next_attempt_at, chosen.module
FROM chosen CROSS JOIN LATERAL (SELECT * FROM "{schema}".outbox WHERE id = chosen.event_id OFFSET 0) AS event
ORDER BY chosen.sequence, chosen.module
"""

_DELIVERABLE = """
SELECT EXISTS (
    SELECT FROM (
        SELECT DISTINCT ON (module, aggregatetype, aggregateid) next_attempt_at
        FROM "{schema}".outbox_elsewhere WHERE {pending} AND module = ANY(%(modules)s)
        ORDER BY module, aggregatetype, aggregateid, sequence) AS first
    WHERE {due})
"""

_WAITING = """
SELECT count(*), min(event.occurred_at)
FROM "{schema}".outbox_elsewhere AS onward JOIN "{schema}".outbox AS event ON event.id = onward.event_id
WHERE onward.delivered_at IS NULL AND onward.dead_at IS NULL AND onward.module = ANY(%(modules)s)
"""

_DELIVERED = 'UPDATE "{schema}".outbox_elsewhere SET delivered_at = %(at)s WHERE {keys}'

_FAILED = """
UPDATE "{schema}".outbox_elsewhere
SET attempts = attempts + 1, last_error = %(error)s, next_attempt_at = %(retry_at)s, dead_at = %(dead_at)s
WHERE {keys}
"""

_POSTPONED = 'UPDATE "{schema}".outbox_elsewhere SET next_attempt_at = %(until)s WHERE {keys}'

_HAS_STRAYS = """
SELECT EXISTS (SELECT FROM "{schema}".outbox_elsewhere WHERE {pending} AND module <> ALL(%(modules)s))
"""

_TAKE_BACK = """
WITH strays AS (
    DELETE FROM "{schema}".outbox_elsewhere WHERE {pending} AND module <> ALL(%(modules)s) RETURNING event_id)
UPDATE "{schema}".outbox SET delivered_at = NULL, dead_at = NULL, attempts = 0, next_attempt_at = NULL
WHERE id IN (SELECT event_id FROM strays)
"""
