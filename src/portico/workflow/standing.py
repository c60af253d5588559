"""Where a run stands, and what the log says of it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

import orjson

from portico.workflow.attempts import repeat
from portico.workflow.outcome import StepFailed
from portico.workflow.run import Direction, Run, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from portico.workflow.desk import Desk
    from portico.workflow.plan import Plan

State = TypeVar("State")

_LONGEST_ERROR = 1000


class KeyTaken(Exception):  # noqa: N818  # what was found, not a fault
    """There is a run for this key already."""


class Standing(Generic[State]):
    """A run and its state in the hands of one owner, who writes them down."""

    def __init__(self, plan: Plan[State], run: Run, state: State, desk: Desk) -> None:
        """``run`` is as the log has it or, for one that has not begun, as it shall be."""
        self.plan = plan
        self.run = run
        self.state = state
        self._desk = desk
        self._owner = run.owner
        self._logged = run  # as it was last written, with the state as JSON
        self._is_in_log = bool(run.attempts)
        self._written = plan.encode(state)
        self._written_at = time.monotonic()

    def begin(self, work: Callable[[], Run]) -> None:
        """Do ``work`` in a transaction and write down the new run that it answers.

        What it raises comes out as it is, and nothing has happened. Raises ``KeyTaken``.
        """
        first_state = self._written
        with self._desk.database.unit_of_work() as session:
            after = work()
            after = replace(after, subject=self.plan.subject(self.state))
            now, state = self._desk.clock.now(), self.plan.encode(self.state)
            lease = self._desk.lease(self._owner, now)
            if not self._desk.log.add(
                session, after, first_state=first_state, state=state, lease=lease, now=now
            ):
                raise KeyTaken(self.run.key)
        self._is_written(after, state)

    def commit(self, work: Callable[[], Run]) -> None:
        """Do ``work`` in a transaction and write down the run as it answers it; try until that is committed.

        Raises ``StepFailed``, with the state as it was before, and ``LeaseLost``.
        """
        before, tried = self.plan.encode(self.state), False

        def attempt() -> None:
            nonlocal tried
            if tried:
                if self._has_committed():
                    return
                self._restore(before)
            tried = True
            self._commit_once(work)

        try:
            repeat(self._desk, attempt)
        except StepFailed as failed:
            if not (failed.maybe and self._has_committed()):
                self._restore(before)
                raise

    def adopt(self, run: Run) -> None:
        """Go on from ``run``, which this owner wrote itself though the answer to the commit was lost."""
        self.state = self.plan.decode(run.state)
        self._is_written(run, self.plan.encode(self.state))

    def renew_lease(self) -> None:
        """See to it that nobody else takes the run during the next attempt of a step."""
        if not self._is_in_log:
            return
        if time.monotonic() - self._written_at > self._desk.settings.lease_seconds / 3:
            self.commit(lambda: self.run)

    def park(self, name: str, *, seconds: float, deadline: datetime | None) -> bool:
        """Write down that the run waits for ``name``, so many seconds since it first came here, and leave it.

        False when it has come meanwhile. Nobody takes it up before it comes, the time is over or
        ``deadline`` is. Raises as ``commit``.
        """
        parked = False

        def attempt() -> None:
            nonlocal parked
            with self._desk.database.unit_of_work() as session:
                now, state = self._desk.clock.now(), self.plan.encode(self.state)
                lease = self._desk.lease(self._owner, now)
                self._desk.log.save(session, self.run, state=state, lease=lease, now=now)
                limit = now + timedelta(seconds=seconds)
                awaited = self._desk.waits.begin(session, self.run.id, name, until=limit)
                parked = not awaited.has_come
                if parked:
                    until = awaited.until or limit
                    until = until if deadline is None else min(until, deadline)
                    self._desk.log.park(
                        session, self.run.id, owner=self._owner, until=until, now=now
                    )
            self._is_written(self.run, state)

        repeat(self._desk, attempt)
        return parked

    def leave(self, *, delay_seconds: float, why: Exception) -> None:
        """Let somebody else go on after a while; after too many attempts nobody does, until a person looks.

        However long a module cannot be reached, that uses up half of the attempts at the most.
        """
        settings, attempts, cause = self._desk.settings, self.run.attempts, why
        if isinstance(why, StepFailed):
            cause = why.error
            if why.passing:
                attempts = min(attempts, settings.attempts_in_outage)
        exhausted = attempts >= settings.max_attempts
        status = Status.DEAD if exhausted else Status.RUNNING
        self.run = replace(self.run, attempts=attempts, status=status)
        now = self._desk.clock.now()
        with self._desk.database.unit_of_work() as session:
            self._desk.log.leave(
                session,
                self.run,
                owner=self._owner,
                next_attempt_at=now + timedelta(seconds=delay_seconds),
                last_error=f"{type(cause).__name__}: {cause}"[:_LONGEST_ERROR],
                now=now,
            )

    @property
    def has_turned(self) -> bool:
        """Whether it is written down that the run goes back."""
        return self._logged.direction is Direction.UNDO

    @property
    def has_news(self) -> bool:
        """Whether the state has changed since it was written down."""
        return self.plan.encode(self.state) != self._written

    def _commit_once(self, work: Callable[[], Run]) -> None:
        with self._desk.database.unit_of_work() as session:
            after = work()
            now, state = self._desk.clock.now(), self.plan.encode(self.state)
            lease = self._desk.lease(self._owner, now)
            self._desk.log.save(session, after, state=state, lease=lease, now=now)
        self._is_written(after, state)

    def _is_written(self, run: Run, state: str) -> None:
        self.run = self._logged = run
        self._is_in_log = True
        self._written = state
        self._written_at = time.monotonic()

    def _has_committed(self) -> bool:
        """Whether an attempt that seemed to fail has committed: only then does the log say something new."""
        found = self._desk.find(self.run.id)
        if found is None or found.owner != self._owner or _place(found) == _place(self._logged):
            return False
        self.adopt(found)
        return True

    def _restore(self, state: str) -> None:
        self.state = self.plan.decode(orjson.loads(state))


def _place(run: Run) -> tuple[int, Direction, Status]:
    return run.step, run.direction, run.status
