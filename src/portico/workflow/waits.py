"""What runs wait for, and every statement on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from portico.workflow.log import TABLE as RUNS

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

TABLE = "workflow_waits"


class Awaited(NamedTuple):
    """One outside event for one run."""

    until: datetime | None
    """When the run waits no longer; None while it has not come to its wait."""
    value: Any
    has_come: bool


class Waits:
    """Statements on ``workflow_waits`` of one schema; each runs in the caller's transaction.

    Whoever writes locks the run first: so none sleeps through what has come.
    """

    def __init__(self, schema: str) -> None:
        names = {"table": f'"{schema}".{TABLE}', "runs": f'"{schema}".{RUNS}'}
        self._sql = {name: sql.format_map(names) for name, sql in _STATEMENTS.items()}

    def is_there(self, session: Connection) -> bool:
        """Whether the table was made."""
        return bool(session.exec_driver_sql(self._sql["is_there"]).scalar())

    def find(self, session: Connection, run_id: UUID, name: str) -> Awaited | None:
        """What is known of the event ``name``; None for one that is neither awaited nor has come."""
        row = session.exec_driver_sql(self._sql["find"], {"run_id": run_id, "name": name}).first()
        return None if row is None else Awaited(*row)

    def begin(self, session: Connection, run_id: UUID, name: str, *, until: datetime) -> Awaited:
        """Wait for it ``until`` then, unless the run does already. The run was written in this transaction."""
        row = {"run_id": run_id, "name": name, "until": until}
        return Awaited(*session.exec_driver_sql(self._sql["begin"], row).one())

    def signal(
        self, session: Connection, workflow: str, key: str, name: str, value: Any, *, now: datetime
    ) -> bool:
        """Note that it has come, for the run of ``key``, and wake that; False when there is none under way.

        What comes a second time changes nothing.
        """
        row = {"workflow": workflow, "key": key, "now": now}
        run_id = session.exec_driver_sql(self._sql["wake"], row).scalar()
        if run_id is None:
            return False
        text = orjson.dumps(value).decode()
        row = {"run_id": run_id, "name": name, "value": text, "now": now}
        session.exec_driver_sql(self._sql["signal"], row)
        return True


_STATEMENTS = {
    "is_there": "SELECT to_regclass('{table}') IS NOT NULL",
    "find": """
SELECT until, value, signalled_at IS NOT NULL FROM {table} WHERE run_id = %(run_id)s AND name = %(name)s
""",
    "begin": """
INSERT INTO {table} AS wait (run_id, name, until) VALUES (%(run_id)s, %(name)s, %(until)s)
ON CONFLICT (run_id, name) DO UPDATE SET until = coalesce(wait.until, EXCLUDED.until)
RETURNING until, value, signalled_at IS NOT NULL
""",
    "wake": """
UPDATE {runs} SET next_attempt_at = %(now)s
WHERE name = %(workflow)s AND key = %(key)s AND status IN ('RUNNING', 'DEAD') AND direction = 'FORWARD'
RETURNING id
""",
    "signal": """
INSERT INTO {table} AS wait (run_id, name, value, signalled_at)
VALUES (%(run_id)s, %(name)s, %(value)s::jsonb, %(now)s)
ON CONFLICT (run_id, name) DO UPDATE SET value = EXCLUDED.value, signalled_at = EXCLUDED.signalled_at
WHERE wait.signalled_at IS NULL
""",
}
