"""The outbox table of one module: events written with the change they tell of, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection


class Record(NamedTuple):
    """One event as it lies in the table."""

    id: UUID
    aggregate_type: str
    aggregate_id: str
    type: str
    """Full name of the message, such as ``commerce.payments.v1.PaymentSucceeded``."""
    payload: bytes
    headers: dict[str, Any]
    occurred_at: datetime
    attempts: int
    """How often its delivery has failed."""
    next_attempt_at: datetime | None
    """Not before this; None when it was never tried."""
    module: str = ""
    """The one it is for, in another process; empty for all who react in this one."""

    @property
    def line(self) -> tuple[str, ...]:
        """Where it stands: one event of a line is dealt with before the next."""
        return self.module, self.aggregate_type, self.aggregate_id


class Queue(Protocol):
    """Events of one schema that wait to be delivered. Everything runs in the caller's transaction."""

    def claim(
        self, session: Connection, *, now: datetime, window: int | None, limits: Limits
    ) -> list[Record]:
        """Events to deliver, kept from all other relays until this transaction ends.

        Looked for among the first ``window`` that wait, or among all when it is None.
        """

    def is_deliverable(self, session: Connection, *, now: datetime) -> bool:
        """Whether any event is due, also one that a relay is delivering at the moment."""

    def mark_delivered(
        self, session: Connection, records: Sequence[Record], *, at: datetime
    ) -> None:
        """These have reached everyone they are for."""

    def mark_failed(
        self,
        session: Connection,
        record: Record,
        *,
        error: str,
        retry_at: datetime | None,
        dead_at: datetime | None,
    ) -> None:
        """One has not: try again at ``retry_at``, or never when ``dead_at`` is given."""

    def postpone(self, session: Connection, records: Sequence[Record], *, until: datetime) -> None:
        """These were not tried, and are not due before ``until``."""


class Limits(NamedTuple):
    """How much is claimed at a time."""

    aggregates: int
    run: int
    """Of one aggregate."""
    most: int
    """Of all."""


class Outbox:
    """The statements of one schema's outbox. All of them run in the caller's transaction."""

    def __init__(self, schema: str) -> None:
        """``schema`` bears the module's name."""
        self.schema = schema
        names = {"table": f'"{schema}".outbox', "pending": _PENDING, "due": _DUE}
        self._insert = _INSERT.format_map(names)
        self._claim = _CLAIM.format_map(names)
        self._deliverable = _DELIVERABLE.format_map(names)
        self._oldest = _OLDEST.format_map(names)
        self._delivered = _DELIVERED.format_map(names)
        self._failed = _FAILED.format_map(names)
        self._postponed = _POSTPONED.format_map(names)

    def add(self, session: Connection, record: dict[str, Any]) -> None:
        """Write an event down; ``record`` holds the columns as parameters."""
        session.exec_driver_sql(self._insert, record)

    def claim(
        self, session: Connection, *, now: datetime, window: int | None, limits: Limits
    ) -> list[Record]:
        """See ``Queue``."""
        parameters = {"now": now, "window": window, **limits._asdict()}
        return [Record(*row) for row in session.exec_driver_sql(self._claim, parameters)]

    def is_deliverable(self, session: Connection, *, now: datetime) -> bool:
        """See ``Queue``."""
        return bool(session.exec_driver_sql(self._deliverable, {"now": now}).scalar())

    def oldest_pending_at(self, session: Connection) -> datetime | None:
        """When the first event happened that is neither delivered nor dead."""
        return session.exec_driver_sql(self._oldest).scalar()

    def mark_delivered(
        self, session: Connection, records: Sequence[Record], *, at: datetime
    ) -> None:
        """These have reached everyone in this process, and were handed on to those in others."""
        parameters = {"ids": [record.id for record in records], "at": at}
        session.exec_driver_sql(self._delivered, parameters)

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
        parameters = {"id": record.id, "error": error, "retry_at": retry_at, "dead_at": dead_at}
        session.exec_driver_sql(self._failed, parameters)

    def postpone(self, session: Connection, records: Sequence[Record], *, until: datetime) -> None:
        """See ``Queue``."""
        parameters = {"ids": [record.id for record in records], "until": until}
        session.exec_driver_sql(self._postponed, parameters)


_PENDING = "delivered_at IS NULL AND dead_at IS NULL"
_DUE = "(next_attempt_at IS NULL OR next_attempt_at <= %(now)s)"

_INSERT = """
INSERT INTO {table} (id, aggregatetype, aggregateid, type, payload, headers, occurred_at)
VALUES (%(id)s, %(aggregate_type)s, %(aggregate_id)s, %(type)s, %(payload)b, %(headers)s::jsonb, %(occurred_at)s)
"""

# The first undelivered event of an aggregate stands for it: whoever has locked that row has the
# aggregate, and the events behind it need no lock, for they are first for nobody else until this
# transaction ends. All that come before one in the window are in the window, so `place` is right.
# LATERAL keeps the planner at the keys, one row after the other: nothing is known of these tables, which fill
# and empty all the time, and a scan of all that was ever delivered costs more than all the rest. No more rows
# are locked than are taken.
_CLAIM = """
WITH early AS MATERIALIZED (
    SELECT id, sequence, aggregatetype, aggregateid,
           row_number() OVER (PARTITION BY aggregatetype, aggregateid ORDER BY sequence) AS place
    FROM (SELECT * FROM {table} WHERE {pending} ORDER BY sequence LIMIT %(window)s) AS oldest),
heads AS MATERIALIZED (SELECT * FROM early WHERE place = 1 ORDER BY sequence),
claimed AS MATERIALIZED (
    SELECT heads.aggregatetype, heads.aggregateid FROM heads CROSS JOIN LATERAL (
        SELECT FROM {table} WHERE id = heads.id AND {pending} AND {due} FOR UPDATE SKIP LOCKED) AS locked
    LIMIT %(aggregates)s),
chosen AS MATERIALIZED (
    SELECT early.id, early.sequence FROM early JOIN claimed USING (aggregatetype, aggregateid)
    WHERE early.place <= %(run)s ORDER BY early.sequence LIMIT %(most)s)
SELECT event.id, event.aggregatetype, event.aggregateid, event.type, event.payload, event.headers,
       event.occurred_at, event.attempts, event.next_attempt_at
FROM chosen CROSS JOIN LATERAL (SELECT * FROM {table} WHERE id = chosen.id OFFSET 0) AS event
ORDER BY chosen.sequence
"""

_DELIVERABLE = """
SELECT EXISTS (
    SELECT FROM (
        SELECT DISTINCT ON (aggregatetype, aggregateid) next_attempt_at
        FROM {table} WHERE {pending} ORDER BY aggregatetype, aggregateid, sequence) AS first
    WHERE {due})
"""

_OLDEST = "SELECT occurred_at FROM {table} WHERE {pending} ORDER BY sequence LIMIT 1"

_DELIVERED = "UPDATE {table} SET delivered_at = %(at)s WHERE id = ANY(%(ids)s)"

_FAILED = """
UPDATE {table} SET attempts = attempts + 1, last_error = %(error)s, next_attempt_at = %(retry_at)s,
                   dead_at = %(dead_at)s
WHERE id = %(id)s
"""

_POSTPONED = "UPDATE {table} SET next_attempt_at = %(until)s WHERE id = ANY(%(ids)s)"
