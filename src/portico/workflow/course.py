"""One run in the hands of one thread: forward step by step, or back."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import orjson

from portico.context import StepMark
from portico.workflow.attempts import call_out, repeat
from portico.workflow.outcome import StepFailed, written
from portico.workflow.run import Direction, Run, Status
from portico.workflow.step import marked

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from portico.workflow.desk import Desk
    from portico.workflow.plan import Plan

State = TypeVar("State")


class KeyTaken(Exception):  # noqa: N818  # what was found, not a fault
    """There is a run for this key already."""


class Course(Generic[State]):
    """Drives a run and writes down where it stands.

    Neighbouring steps that stay in the process share a transaction, and what the log has to say of
    them, and of the steps before them that left it, is written in that transaction. A step that leaves
    the process runs with none open. It needs no entry before it: when it is not known to have happened
    it is repeated under the same key, or undone though it may never have been. An entry between two
    steps that leave the process is written only when the first one changed the state.
    """

    def __init__(self, plan: Plan[State], run: Run, state: State, desk: Desk) -> None:
        self.plan = plan
        self.run = run
        self.state = state
        self._desk = desk
        self._owner = run.owner
        self._logged = run  # as it was last written, with the state as JSON
        self._written = plan.encode(state)
        self._written_at = time.monotonic()
        self._reach = plan.reach(run.step) if run.attempts else 0

    # The beginning

    def begin(self) -> None:
        """Take the steps up to the first command that leaves the process, and write the run down with them.

        What a step raises comes out as it is, and nothing has happened. Raises ``KeyTaken``.
        """
        first_state = self.plan.encode_first(self.state)
        while self._step < self._count and self._is_remote and self.plan.steps[self._step].query:
            try:
                self._call_out()
            except StepFailed as failed:
                raise failed.error from None
        with self._desk.database.unit_of_work() as session:
            after = self._own_steps()
            after = replace(after, subject=self.plan.subject(self.state))
            now = self._desk.clock.now()
            state = self.plan.encode(self.state)
            lease = self._desk.lease(self._owner, now)
            if not self._desk.log.add(
                session, after, first_state=first_state, state=state, lease=lease, now=now
            ):
                raise KeyTaken(self.run.key)
        self._stands(after, state)

    def adopt(self, run: Run) -> None:
        """Go on from ``run``, which this course wrote itself though the answer to the commit was lost."""
        self.state = self.plan.decode(run.state)
        self._stands(run, self.plan.encode(self.state))

    # Forward

    def advance(self) -> None:
        """Go on to the end. Raises ``StepFailed`` and ``LeaseLost``."""
        while self.run.status is Status.RUNNING:
            if self._step == self._count:
                self._keep_alone(replace(self.run, status=Status.DONE))
            elif self._is_remote:
                self._renew_lease()
                self._call_out()
                if self._step < self._count and self._is_remote and self._has_news:
                    self._keep_alone(self.run)
            else:
                self._take_own_steps()

    def _call_out(self) -> None:
        step = self.plan.steps[self._step]
        call_out(
            self._desk,
            f"{self.run.name}.{step.name}",
            StepMark(self._desk.module, self.run.step_key(step.name)),
            partial(step.action, self.state),
        )
        self.run = replace(self.run, step=self._step + 1)

    def _take_own_steps(self) -> None:
        state = self.plan.encode(self.state)

        def attempt() -> None:
            with self._desk.database.unit_of_work() as session:
                after = self._own_steps()
                written = self._save(session, after)
            self._stands(after, written)

        self._repeat_own(attempt, state)

    def _own_steps(self) -> Run:
        """Take the steps from here that stay in the process; the run as it is after them."""
        place = self._step
        while place < self._count and not self.plan.is_remote[place]:
            step = self.plan.steps[place]
            mark = StepMark(self._desk.module, self.run.step_key(step.name))
            with marked(mark, f"{self.run.name}.{step.name}"):
                step.action(self.state)
            place += 1
        status = Status.DONE if place == self._count else Status.RUNNING
        return replace(self.run, step=place, status=status)

    # Back

    def turn_back(self, failed: StepFailed) -> None:
        """Undo what was done and what may have been. Raises as ``go_back``."""
        done = self._done_at_most(failed)
        error = written(failed.error)
        self.run = replace(self.run, direction=Direction.UNDO, step=done, error=error)
        self.go_back()

    def go_back(self) -> None:
        """Undo step by step, the last one first. Raises ``StepFailed`` and ``LeaseLost``."""
        while self.run.status is Status.RUNNING:
            if self._step > 0 and self._leaves_process_backward(self._step - 1):
                if not self.has_turned:
                    self._keep_alone(self.run)  # from here on nobody must go forward any more
                self._undo_outside()
            else:
                self._undo_own()

    def _undo_outside(self) -> None:
        step = self.plan.steps[self._step - 1]
        self._renew_lease()
        call_out(
            self._desk,
            f"{self.run.name}.{step.name}.undo",
            StepMark(self._desk.module, self.run.step_key(f"{step.name}/undo")),
            partial(step.undo or _nothing, self.state),
        )
        self.run = replace(self.run, step=self._step - 1)

    def _undo_own(self) -> None:
        state = self.plan.encode(self.state)

        def attempt() -> None:
            with self._desk.database.unit_of_work() as session:
                after = self._own_undos()
                written = self._save(session, after)
            self._stands(after, written)

        self._repeat_own(attempt, state)

    def _own_undos(self) -> Run:
        place = self._step
        while place > 0 and not self._leaves_process_backward(place - 1):
            place -= 1
            step = self.plan.steps[place]
            if step.undo is not None:
                mark = StepMark(self._desk.module, self.run.step_key(f"{step.name}/undo"))
                with marked(mark, f"{self.run.name}.{step.name}.undo"):
                    step.undo(self.state)
        status = Status.UNDONE if place == 0 else Status.RUNNING
        return replace(self.run, step=place, status=status)

    def _leaves_process_backward(self, place: int) -> bool:
        return self.plan.is_remote[place] and self.plan.steps[place].undo is not None

    # The log

    def leave(self, *, delay_seconds: float, why: Exception) -> None:
        """Let somebody else go on after a while; after too many attempts nobody does, until a person looks."""
        exhausted = self.run.attempts >= self._desk.settings.max_attempts
        self.run = replace(self.run, status=Status.DEAD if exhausted else Status.RUNNING)
        now = self._desk.clock.now()
        with self._desk.database.unit_of_work() as session:
            self._desk.log.leave(
                session,
                self.run,
                owner=self._owner,
                next_attempt_at=now + timedelta(seconds=delay_seconds),
                last_error=f"{type(why).__name__}: {why}"[:1000],
                now=now,
            )

    def _keep_alone(self, run: Run) -> None:
        """Write the run down in a transaction of its own."""

        def attempt() -> None:
            with self._desk.database.unit_of_work() as session:
                state = self._save(session, run)
            self._stands(run, state)

        self._repeat_own(attempt, None)

    def _save(self, session: Connection, run: Run) -> str:
        now = self._desk.clock.now()
        state = self.plan.encode(self.state)
        self._desk.log.save(
            session, run, state=state, lease=self._desk.lease(self._owner, now), now=now
        )
        return state

    def _stands(self, run: Run, written: str) -> None:
        self.run = self._logged = run
        self._written = written
        self._written_at = time.monotonic()

    def _repeat_own(self, attempt: Callable[[], None], state: str | None) -> None:
        """Try a transaction of this module until it commits. ``state`` is as it was before, None if it stays."""
        tried = False

        def again() -> None:
            nonlocal tried
            if tried and self._has_committed():
                return
            self._restore(state if tried else None)
            tried = True
            attempt()

        try:
            repeat(self._desk, again)
        except StepFailed as failed:
            if not (failed.maybe and self._has_committed()):
                self._restore(state)
                raise

    def _has_committed(self) -> bool:
        """Whether an attempt that seemed to fail has committed: only then does the log say something new."""
        found = self._desk.find(self.run.id)
        if found is None or found.owner != self._owner or _place(found) == _place(self._logged):
            return False
        self.adopt(found)
        return True

    def _restore(self, state: str | None) -> None:
        if state is not None:
            self.state = self.plan.decode(orjson.loads(state))

    def _renew_lease(self) -> None:
        if time.monotonic() - self._written_at > self._desk.settings.lease_seconds / 3:
            self._keep_alone(self.run)

    def must_go_on(self, failed: StepFailed) -> bool:
        """Whether there is no way back from this failure."""
        return self.plan.is_past_pivot(self._done_at_most(failed))

    def _done_at_most(self, failed: StepFailed) -> int:
        """How many steps may have happened: here, and before the run was taken up, which the log does not tell.

        A refusal says that a step did not happen now. The process before may have done it, and those behind it.
        """
        here = self._step + (1 if failed.maybe and self._is_remote else 0)
        return max(here, self._reach)

    @property
    def has_turned(self) -> bool:
        """Whether it is written down that the run goes back."""
        return self._logged.direction is Direction.UNDO

    @property
    def _has_news(self) -> bool:
        return self.plan.encode(self.state) != self._written

    @property
    def _step(self) -> int:
        return self.run.step

    @property
    def _count(self) -> int:
        return len(self.plan.steps)

    @property
    def _is_remote(self) -> bool:
        """Whether the next step leaves the process."""
        return self._step < self._count and self.plan.is_remote[self._step]


def _nothing(state: object) -> None:
    pass


def _place(run: Run) -> tuple[int, Direction, Status]:
    return run.step, run.direction, run.status
