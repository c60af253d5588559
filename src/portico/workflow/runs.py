"""The runs of a process's modules, for the person who looks after them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any

from portico import errors
from portico.workflow.log import Lease
from portico.workflow.outcome import written
from portico.workflow.records import Record, Records
from portico.workflow.run import Direction, Run, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

    from portico.workflow.plan import Plan
    from portico.workflow.workflows import Workflows

DEFAULT_SIZE = 50


class Runs:
    """Lists runs, and changes what their logs say of them; whoever recovers them does the rest.

    It needs the database and the definitions, and none of the processes that run the workflows. Its
    refusals are those of the contract ``portico.v1.WorkflowService``.
    """

    def __init__(self, workflows: Iterable[Workflows]) -> None:
        """``workflows`` are those of the modules of this process; without plans there is nothing to see."""
        self._logs = {each.desk.module: _ModuleRuns(each) for each in workflows if each.plans}

    def page(
        self,
        *,
        module: str = "",
        name: str = "",
        status: Status | None = None,
        min_age_seconds: float = 0.0,
        after: UUID | None = None,
        size: int = DEFAULT_SIZE,
    ) -> list[Record]:
        """Up to ``size`` runs, the youngest first, from behind the one called ``after``.

        NOT_FOUND with MODULE_NOT_FOUND for one that runs no workflows here.
        """
        pages = [
            each.page(name, status, timedelta(seconds=min_age_seconds), after, size)
            for each in self._chosen(module)
        ]
        youngest_first = merge(*pages, key=lambda record: record.run.id, reverse=True)
        return list(islice(youngest_first, size))

    def get(self, run_id: UUID) -> Record:
        """The run. NOT_FOUND with RUN_NOT_FOUND."""
        return self._home(run_id).get(run_id)

    def retry(self, run_id: UUID) -> Record:
        """Have it tried again at once, also one that is dead; as it stands then. RUN_NOT_FOUND, RUN_ENDED."""
        home = self._home(run_id)
        with home.changing(run_id) as (session, record, now):
            if record.run.has_ended:
                raise _ended(record.run)
            home.records.retry(session, run_id, now=now)
        return home.get(run_id)

    def cancel(self, run_id: UUID) -> Record:
        """Have it undone; as it stands then.

        RUN_NOT_FOUND, RUN_ENDED for one that is done, RUN_PAST_PIVOT, VERSION_UNKNOWN.
        """
        home = self._home(run_id)
        with home.changing(run_id) as (session, record, now):
            if record.run.status is Status.DONE:
                raise _ended(record.run)
            if record.run.direction is Direction.FORWARD:
                done = _done_at_most(record)
                home.records.cancel(session, run_id, done=done, error=_CANCELLED, now=now)
        return home.get(run_id)

    def fork(
        self, run_id: UUID, *, key: str, step: str = "", changes: Mapping[str, Any] | None = None
    ) -> Record:
        """Begin a new run at ``step``, by default the first, with the state that an ended one has left for it.

        ``changes`` are fields of the state that shall be something else. RUN_NOT_FOUND, RUN_NOT_ENDED,
        VERSION_UNKNOWN, STEP_UNKNOWN, STEP_NOT_REACHED, STATE_INVALID, KEY_TAKEN.
        """
        home = self._home(run_id)
        old = home.get(run_id)
        if old.run.status is Status.RUNNING:
            raise errors.failed_precondition(
                "RUN_NOT_ENDED", "this run is still under way", run_id=run_id
            )
        return home.get(home.begin(old, _fork_of(old, step), dict(changes or {}), key))

    def _chosen(self, module: str) -> list[_ModuleRuns]:
        if module and module not in self._logs:
            raise errors.not_found(
                "MODULE_NOT_FOUND", f"no module {module} runs workflows here", module=module
            )
        return [self._logs[module]] if module else list(self._logs.values())

    def _home(self, run_id: UUID) -> _ModuleRuns:
        for each in self._logs.values():
            if each.find(run_id) is not None:
                return each
        raise _not_found(run_id)


class _ModuleRuns:
    """Those of one module."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows
        self._desk = workflows.desk
        self.records = Records(self._desk.module, schema=self._desk.database.schema)
        self._is_there = False

    def page(
        self, name: str, status: Status | None, age: timedelta, after: UUID | None, size: int
    ) -> list[Record]:
        if not self._has_log():
            return []
        with self._desk.database.reading() as session:
            return self.records.page(
                session,
                self._workflows.plans,
                name=name,
                status=status,
                begun_before=self._desk.clock.now() - age,
                after=after,
                size=size,
            )

    def find(self, run_id: UUID) -> Record | None:
        if not self._has_log():
            return None
        with self._desk.database.reading() as session:
            return self.records.find(session, self._workflows.plans, run_id)

    def get(self, run_id: UUID) -> Record:
        found = self.find(run_id)
        if found is None:
            raise _not_found(run_id)
        return found

    @contextmanager
    def changing(self, run_id: UUID) -> Iterator[tuple[Connection, Record, datetime]]:
        with self._desk.database.unit_of_work() as session:
            found = self.records.find(session, self._workflows.plans, run_id, lock=True)
            if found is None:
                raise _not_found(run_id)
            yield session, found, self._desk.clock.now()

    def begin(self, old: Record, fork: Run, changes: dict[str, Any], key: str) -> UUID:
        plan = _plan_of(old)
        now = self._desk.clock.now()
        run = replace(fork, id=self._desk.ids.uuid(), key=key, created_at=now)
        state = _with_changes(plan, run.state, changes)
        run = replace(run, subject=plan.subject(plan.decode(state)))
        written_down = plan.encode(plan.decode(state))
        with self._desk.database.unit_of_work() as session:
            if not self._desk.log.add(
                session,
                run,
                first_state=written_down,
                state=written_down,
                lease=Lease("", now),  # anybody's
                now=now,
            ):
                raise errors.already_exists("KEY_TAKEN", "there is a run with this key", key=key)
        return run.id

    def _has_log(self) -> bool:
        if not self._is_there:
            with self._desk.database.reading() as session:
                self._is_there = self._desk.log.is_there(session)
        return self._is_there


_CANCELLED = written(
    errors.failed_precondition("WORKFLOW_CANCELLED", "this was cancelled by whoever looks after it")
)


def _plan_of(record: Record) -> Plan[Any]:
    if record.plan is None:
        raise errors.failed_precondition(
            "VERSION_UNKNOWN",
            "this process has no definition of the run's version",
            version=record.run.version,
        )
    return record.plan


def _done_at_most(record: Record) -> int:
    """How many steps may be done by now: more than the log tells, and nothing beyond a pivot."""
    plan, run = _plan_of(record), record.run
    done = plan.reach(run.step)
    if plan.is_past_pivot(done):
        raise errors.failed_precondition(
            "RUN_PAST_PIVOT",
            "this run has passed, or may have, a step behind which there is no way back",
            run_id=run.id,
            step=next(step.name for step in plan.steps[:done] if step.pivot),
        )
    return done


def _fork_of(old: Record, step: str) -> Run:
    """The new run, but for its id and its key."""
    place = _place(old, step)
    if place > (0 if old.run.is_undone else old.run.step):
        raise errors.failed_precondition(
            "STEP_NOT_REACHED", f"the log has no state of this run for step {step}", step=step
        )
    return replace(
        old.run,
        state=old.run.state if place else old.first_state,
        headers=old.run.headers | {"fork_of": str(old.run.id), "first_step": place},
        deadline_at=None,
        direction=Direction.FORWARD,
        status=Status.RUNNING,
        step=place,
        error=None,
        attempts=0,
        owner="",
    )


def _place(record: Record, step: str) -> int:
    plan = _plan_of(record)
    places = {each.name: place for place, each in enumerate(plan.steps) if plan.is_first(place)}
    if step and step not in places:
        raise errors.invalid_argument(
            "STEP_UNKNOWN", f"no step {step}, or not the first one of its group", step=step
        )
    return places[step] if step else 0


def _with_changes(
    plan: Plan[Any], state: dict[str, Any], changes: dict[str, Any]
) -> dict[str, Any]:
    try:
        plan.decode(state | changes)
    except TypeError as refusal:
        raise errors.invalid_argument("STATE_INVALID", str(refusal)) from refusal
    return state | changes


def _not_found(run_id: UUID) -> errors.StatusError:
    return errors.not_found("RUN_NOT_FOUND", "there is no such run here", run_id=run_id)


def _ended(run: Run) -> errors.StatusError:
    return errors.failed_precondition(
        "RUN_ENDED", "this run has ended", run_id=run.id, status=run.status
    )
