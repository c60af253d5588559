"""The log of one module's runs, and every statement on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from sqlalchemy import Column, MetaData, Table, Text, exists

from portico.workflow.run import Direction, Run, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement, Connection

TABLE = "workflow_runs"

Version = tuple[str, int]


class Lease(NamedTuple):
    """Who works on a run, and until when nobody else may."""

    owner: str
    until: datetime


class LeaseLost(Exception):  # noqa: N818  # what happened, not a fault
    """Somebody else works on the run: what this one did since cannot be kept."""


class Log:
    """Statements on ``workflow_runs`` of one schema; each runs in the caller's transaction."""

    def __init__(self, schema: str) -> None:
        """``schema`` bears the module's name."""
        names = {"table": f'"{schema}".{TABLE}', "columns": ", ".join(COLUMNS)}
        names["known"] = _KNOWN
        names["run_columns"] = ", ".join(f"run.{column}" for column in COLUMNS)
        self._sql = {name: sql.format_map(names) for name, sql in _STATEMENTS.items()}
        self._schema = schema

    def is_there(self, session: Connection) -> bool:
        """Whether the table was made."""
        named = {"name": f'"{self._schema}".{TABLE}'}
        return bool(session.exec_driver_sql(_IS_THERE, named).scalar())

    def add(
        self,
        session: Connection,
        run: Run,
        *,
        first_state: str,
        state: str,
        lease: Lease,
        now: datetime,
    ) -> bool:
        """Begin a run; False when there is one for its key that is not undone."""
        row = _changes(run, state, lease, now) | {
            "name": run.name,
            "version": run.version,
            "key": run.key,
            "subject": run.subject,
            "input": first_state,
            "headers": _json(run.headers),
            "deadline_at": run.deadline_at,
            "created_at": run.created_at,
        }
        return session.exec_driver_sql(self._sql["add"], row).rowcount == 1

    def save(
        self, session: Connection, run: Run, *, state: str, lease: Lease, now: datetime
    ) -> None:
        """Write down where the run stands, and keep it. Raises ``LeaseLost``."""
        row = _changes(run, state, lease, now)
        if session.exec_driver_sql(self._sql["save"], row).rowcount != 1:
            raise LeaseLost(run.key)

    def leave(
        self,
        session: Connection,
        run: Run,
        *,
        owner: str,
        next_attempt_at: datetime,
        last_error: str,
        now: datetime,
    ) -> None:
        """Let anybody take it up after ``next_attempt_at``. It stands where it was last written to stand.

        Does nothing when somebody else has it already.
        """
        row = {
            "id": run.id,
            "owner": owner,
            "status": run.status,
            "attempts": run.attempts,
            "next_attempt_at": next_attempt_at,
            "last_error": last_error,
            "now": now,
        }
        session.exec_driver_sql(self._sql["leave"], row)

    def park(
        self, session: Connection, run_id: UUID, *, owner: str, until: datetime, now: datetime
    ) -> None:
        """Let nobody take it up before ``until``, and then with all its attempts. Written in this transaction."""
        row = {"id": run_id, "owner": owner, "until": until, "now": now}
        session.exec_driver_sql(self._sql["park"], row)

    def take(
        self, session: Connection, *, known: Sequence[Version], lease: Lease, now: datetime
    ) -> Run | None:
        """A run that nobody works on and that is due, now the taker's; None when there is none.

        Only of the versions that are ``known``. Any number of takers may ask at once.
        """
        row = _versions(known) | {"owner": lease.owner, "lease_until": lease.until, "now": now}
        return _one(session.exec_driver_sql(self._sql["take"], row))

    def find(self, session: Connection, run_id: UUID) -> Run | None:
        """The run as it is at the moment."""
        return _one(session.exec_driver_sql(self._sql["find"], {"id": run_id}))

    def of_key(
        self, session: Connection, name: str, key: str, *, undone_since: datetime
    ) -> Run | None:
        """The run for this key: the one that is not undone, or was not before ``undone_since``."""
        row = {"name": name, "key": key, "since": undone_since}
        return _one(session.exec_driver_sql(self._sql["of_key"], row))

    def orphans(self, session: Connection, *, known: Sequence[Version]) -> dict[Version, int]:
        """How many runs are under way of each version that is not ``known``."""
        rows = session.exec_driver_sql(self._sql["orphans"], _versions(known))
        return {(name, version): count for name, version, count in rows}

    def purge(self, session: Connection, *, before: datetime, most: int) -> int:
        """Remove up to ``most`` runs that ended before then; answers how many."""
        limits = {"before": before, "most": most}
        return session.exec_driver_sql(self._sql["purge"], limits).rowcount


def under_way(subject: ColumnElement[str], *, schema: str, workflow: str) -> ColumnElement[bool]:
    """A condition for a module's own queries: a run about ``subject`` has begun and not ended.

    What its own steps wrote may still be undone then. True also of a run that is dead. Always false
    while the modules live together: there nobody sees a workflow before it has committed.
    """
    runs = Table(
        TABLE,
        MetaData(schema=schema),
        Column("subject", Text),
        Column("status", Text),
        Column("name", Text),
    )
    open_run = runs.c.status.in_((Status.RUNNING.value, Status.DEAD.value))
    return exists().where(runs.c.subject == subject, open_run, runs.c.name == workflow)


def forget(session: Connection, *, schema: str, subject: str) -> None:
    """Remove from the log of ``schema`` the ended runs about ``subject``, with the data that they hold."""
    runs = Table(TABLE, MetaData(schema=schema), Column("subject", Text), Column("status", Text))
    ended = runs.c.status.in_((Status.DONE.value, Status.UNDONE.value))
    session.execute(runs.delete().where(runs.c.subject == subject, ended))


def _changes(run: Run, state: str, lease: Lease, now: datetime) -> dict[str, Any]:
    return {
        "id": run.id,
        "state": state,
        "direction": run.direction,
        "status": run.status,
        "step": run.step,
        "error": None if run.error is None else _json(run.error),
        "owner": lease.owner,
        "lease_until": lease.until,
        "now": now,
    }


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _versions(known: Sequence[Version]) -> dict[str, Any]:
    return {
        "names": [name for name, _ in known],
        "versions": [version for _, version in known],
    }


def _one(rows: Any) -> Run | None:
    row = rows.one_or_none()
    return None if row is None else run_of(row)


def run_of(row: Sequence[Any]) -> Run:
    """The run in a row of ``COLUMNS``."""
    found = dict(zip(COLUMNS, row, strict=True))
    found["direction"] = Direction(found["direction"])
    found["status"] = Status(found["status"])
    return Run(**found)


COLUMNS = (
    "id",
    "name",
    "version",
    "key",
    "subject",
    "state",
    "headers",
    "deadline_at",
    "direction",
    "status",
    "step",
    "error",
    "attempts",
    "owner",
    "created_at",
)

_IS_THERE = "SELECT to_regclass(%(name)s) IS NOT NULL"

_KNOWN = "(name, version) IN (SELECT * FROM unnest(%(names)s::text[], %(versions)s::integer[]))"

_STATEMENTS = {
    "add": """
INSERT INTO {table} (id, name, version, key, subject, input, state, headers, deadline_at, direction, status, step,
                     error, owner, lease_until, created_at, updated_at)
VALUES (%(id)s, %(name)s, %(version)s, %(key)s, %(subject)s, %(input)s::jsonb, %(state)s::jsonb,
        %(headers)s::jsonb, %(deadline_at)s, %(direction)s, %(status)s, %(step)s, %(error)s::jsonb, %(owner)s,
        %(lease_until)s, %(created_at)s, %(now)s)
ON CONFLICT (name, key) WHERE status <> 'UNDONE' DO NOTHING
""",
    "save": """
UPDATE {table} SET state = %(state)s::jsonb, direction = %(direction)s, status = %(status)s, step = %(step)s,
                   error = %(error)s::jsonb, lease_until = %(lease_until)s, updated_at = %(now)s
WHERE id = %(id)s AND owner = %(owner)s AND status = 'RUNNING'
""",
    "leave": """
UPDATE {table} SET status = %(status)s, attempts = %(attempts)s, owner = '', lease_until = %(now)s,
                   next_attempt_at = %(next_attempt_at)s, last_error = %(last_error)s, updated_at = %(now)s
WHERE id = %(id)s AND owner = %(owner)s AND status = 'RUNNING'
""",
    "park": """
UPDATE {table} SET owner = '', attempts = 0, lease_until = %(now)s, next_attempt_at = %(until)s
WHERE id = %(id)s AND owner = %(owner)s AND status = 'RUNNING'
""",
    # A run counts an attempt when it is taken, so that one which ends its process each time dies in the end.
    "take": """
UPDATE {table} AS run SET owner = %(owner)s, lease_until = %(lease_until)s, attempts = run.attempts + 1,
                          next_attempt_at = NULL, updated_at = %(now)s
FROM (SELECT id FROM {table}
      WHERE status = 'RUNNING' AND lease_until <= %(now)s
        AND (next_attempt_at IS NULL OR next_attempt_at <= %(now)s) AND {known}
      ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
WHERE run.id = due.id
RETURNING {run_columns}
""",
    "find": "SELECT {columns} FROM {table} WHERE id = %(id)s",
    "of_key": """
SELECT {columns} FROM (
    SELECT * FROM {table} WHERE name = %(name)s AND key = %(key)s AND status <> 'UNDONE'
    UNION ALL
    SELECT * FROM {table}
    WHERE name = %(name)s AND key = %(key)s AND status = 'UNDONE' AND updated_at >= %(since)s) AS run
ORDER BY created_at DESC LIMIT 1
""",
    "orphans": """
SELECT name, version, count(*) FROM {table} WHERE status = 'RUNNING' AND NOT {known}
GROUP BY name, version
""",
    "purge": """
DELETE FROM {table} WHERE id = ANY(ARRAY(
    SELECT id FROM {table} WHERE status IN ('DONE', 'UNDONE') AND updated_at < %(before)s
    ORDER BY updated_at LIMIT %(most)s FOR UPDATE SKIP LOCKED))
""",
}
