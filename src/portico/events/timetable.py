"""Events that are published for a later moment: they lie in a table of their own until then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portico.context import entered, root

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

    from portico.clock import Clock
    from portico.data import Database

_BATCH = 500


class Later:
    """The statements of one schema's ``outbox_later``. They run in the caller's transaction."""

    def __init__(self, schema: str) -> None:
        """``schema`` bears the name of the module that publishes."""
        self._names = {"schema": schema}

    def add(self, session: Connection, record: dict[str, Any]) -> None:
        """Write an event down; ``record`` is that of ``Outbox.add``, with the moment as ``occurred_at``."""
        session.exec_driver_sql(_INSERT.format_map(self._names), record)

    def withdraw(self, session: Connection, event_id: UUID) -> bool:
        """Take one back; False when its moment has come."""
        deleted = session.exec_driver_sql(_WITHDRAW.format_map(self._names), {"id": event_id})
        return deleted.rowcount == 1

    def exists(self, session: Connection) -> bool:
        """Whether the module has the table, which its migrations make if it publishes for later."""
        statement = _EXISTS.format_map(self._names)
        return bool(session.exec_driver_sql(statement).scalar_one())

    def is_any_due(self, session: Connection, *, now: datetime) -> bool:
        """Whether the moment of any has come."""
        statement = _IS_ANY_DUE.format_map(self._names)
        return bool(session.exec_driver_sql(statement, {"now": now}).scalar_one())

    def bring_due(self, session: Connection, *, now: datetime, most: int) -> int:
        """Move those whose moment has come into the outbox, in the order of their moments; how many."""
        row = {"now": now, "most": most}
        return int(session.exec_driver_sql(_BRING_DUE.format_map(self._names), row).rowcount)


class Timetable:
    """Brings the events of some modules into their outboxes when their moment comes; any number may run."""

    def __init__(self, databases: Iterable[Database], *, clock: Clock) -> None:
        """``clock`` says when that is."""
        self._clock = clock
        self._unknown = list(databases)
        self._kept: list[tuple[Database, Later]] = []

    def bring_due(self) -> int:
        """So many have come into an outbox, at the end of it: behind what was published before their moment."""
        self._find_tables()
        return sum(self._bring(database, later) for database, later in self._kept)

    def _find_tables(self) -> None:
        while self._unknown:
            database, later = self._unknown[-1], Later(self._unknown[-1].schema)
            with entered(root()), database.reading() as session:
                if later.exists(session):
                    self._kept.append((database, later))
            self._unknown.pop()

    def _bring(self, database: Database, later: Later) -> int:
        with entered(root()), database.reading() as session:
            if not later.is_any_due(session, now=self._clock.now()):
                return 0
        with entered(root()), database.unit_of_work() as session:
            return later.bring_due(session, now=self._clock.now(), most=_BATCH)


_INSERT = """
INSERT INTO "{schema}".outbox_later (id, aggregatetype, aggregateid, type, payload, headers, deliver_at)
VALUES (%(id)s, %(aggregate_type)s, %(aggregate_id)s, %(type)s, %(payload)b, %(headers)s::jsonb, %(occurred_at)s)
"""

_WITHDRAW = 'DELETE FROM "{schema}".outbox_later WHERE id = %(id)s'

_EXISTS = "SELECT to_regclass('\"{schema}\".outbox_later') IS NOT NULL"

_IS_ANY_DUE = 'SELECT EXISTS (SELECT FROM "{schema}".outbox_later WHERE deliver_at <= %(now)s)'

_BRING_DUE = """
WITH due AS (
    DELETE FROM "{schema}".outbox_later WHERE id IN (
        SELECT id FROM "{schema}".outbox_later WHERE deliver_at <= %(now)s
        ORDER BY deliver_at, id LIMIT %(most)s FOR UPDATE SKIP LOCKED)
    RETURNING *)
INSERT INTO "{schema}".outbox (id, aggregatetype, aggregateid, type, payload, headers, occurred_at)
SELECT id, aggregatetype, aggregateid, type, payload, headers, deliver_at FROM due ORDER BY deliver_at, id
"""
