"""What a person sees of a run, and the statements that are made for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from portico.workflow.log import COLUMNS, TABLE, run_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

    from portico.workflow.log import Version
    from portico.workflow.plan import Plan
    from portico.workflow.run import Run, Status

    Plans = Mapping[Version, Plan[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run as its log has it. ``plan`` is None for a version that this process does not know."""

    module: str
    plan: Plan[Any] | None
    run: Run
    first_state: dict[str, Any]
    last_error: str
    next_attempt_at: datetime | None
    lease_until: datetime
    updated_at: datetime

    @property
    def steps(self) -> Sequence[str]:
        """The names of its steps; none where the version is not known."""
        return () if self.plan is None else [step.name for step in self.plan.steps]

    @property
    def next_step(self) -> str:
        """The step that is next, to do or to undo; empty for a run that has ended or is not known."""
        place = self.run.step - 1 if self.run.is_undone else self.run.step
        has_next = not self.run.has_ended and 0 <= place < len(self.steps)
        return self.steps[place] if has_next else ""


class Records:
    """Statements on ``workflow_runs`` of one module; each runs in the caller's transaction."""

    def __init__(self, module: str, *, schema: str) -> None:
        names = {"table": f'"{schema}".{TABLE}', "columns": ", ".join([*COLUMNS, *_MORE])}
        self._sql = {name: sql.format_map(names) for name, sql in _STATEMENTS.items()}
        self._module = module

    def page(
        self,
        session: Connection,
        plans: Plans,
        *,
        name: str,
        status: Status | None,
        begun_before: datetime,
        after: UUID | None,
        size: int,
    ) -> list[Record]:
        """Up to ``size`` runs, the youngest first, from behind ``after``. An empty ``name`` is any."""
        row = {
            "name": name or None,
            "status": status,
            "before": begun_before,
            "after": after,
            "size": size,
        }
        return [self._record(each, plans) for each in self._rows(session, "page", row)]

    def find(
        self, session: Connection, plans: Plans, run_id: UUID, *, lock: bool = False
    ) -> Record | None:
        """The run; with ``lock`` nobody writes to it before the transaction ends."""
        found = self._rows(session, "lock" if lock else "find", {"id": run_id})
        return self._record(found[0], plans) if found else None

    def retry(self, session: Connection, run_id: UUID, *, now: datetime) -> None:
        """Have it taken up at once, with all its attempts, unless somebody works on it."""
        session.exec_driver_sql(self._sql["retry"], {"id": run_id, "now": now})

    def cancel(
        self, session: Connection, run_id: UUID, *, done: int, error: dict[str, Any], now: datetime
    ) -> None:
        """Have it taken up at once to be undone. Whoever works on it has lost it."""
        row = {"id": run_id, "step": done, "error": orjson.dumps(error).decode(), "now": now}
        session.exec_driver_sql(self._sql["cancel"], row)

    def _rows(self, session: Connection, statement: str, row: dict[str, Any]) -> Sequence[Any]:
        return session.exec_driver_sql(self._sql[statement], row).all()

    def _record(self, row: Any, plans: Plans) -> Record:
        run, more = run_of(row[: len(COLUMNS)]), row[len(COLUMNS) :]
        named = dict(zip(_MORE, more, strict=True))
        return Record(
            module=self._module,
            plan=plans.get((run.name, run.version)),
            run=run,
            first_state=named["input"],
            last_error=named["last_error"] or "",
            next_attempt_at=named["next_attempt_at"],
            lease_until=named["lease_until"],
            updated_at=named["updated_at"],
        )


_MORE = ("input", "last_error", "next_attempt_at", "lease_until", "updated_at")

# Ids rise with the time of birth: the primary key is the order.
_STATEMENTS = {
    "page": """
SELECT {columns} FROM {table}
WHERE (%(name)s::text IS NULL OR name = %(name)s) AND (%(status)s::text IS NULL OR status = %(status)s)
  AND created_at <= %(before)s AND (%(after)s::uuid IS NULL OR id < %(after)s)
ORDER BY id DESC LIMIT %(size)s
""",
    "find": "SELECT {columns} FROM {table} WHERE id = %(id)s",
    "lock": "SELECT {columns} FROM {table} WHERE id = %(id)s FOR UPDATE",
    "retry": """
UPDATE {table} SET status = 'RUNNING', attempts = 0, next_attempt_at = NULL, owner = '', lease_until = %(now)s,
                   updated_at = %(now)s
WHERE id = %(id)s AND (status = 'DEAD' OR status = 'RUNNING' AND lease_until <= %(now)s)
""",
    "cancel": """
UPDATE {table} SET status = 'RUNNING', direction = 'UNDO', step = %(step)s, error = %(error)s::jsonb, attempts = 0,
                   next_attempt_at = NULL, owner = '', lease_until = %(now)s, updated_at = %(now)s
WHERE id = %(id)s
""",
}
