"""One run in the hands of one thread: forward step by step, or back."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc

from portico.context import StepMark
from portico.errors import StatusError
from portico.workflow import group
from portico.workflow.attempts import call_out
from portico.workflow.outcome import StepFailed, written
from portico.workflow.run import Direction, Run, Status, too_late, waited_in_vain
from portico.workflow.standing import Standing
from portico.workflow.step import marked, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from portico.workflow.definition import Step, Wait
    from portico.workflow.desk import Desk
    from portico.workflow.plan import Plan

State = TypeVar("State")


class Course(Generic[State]):
    """Drives a run.

    Neighbouring steps that stay in the process share a transaction, and what the log has to say of
    them, and of the steps before them that left it, is written in that transaction. A step that leaves
    the process runs with none open. It needs no entry before it: when it is not known to have happened
    it is repeated under the same key, or undone though it may never have been. An entry between two
    steps that leave the process is written only when the first one changed the state.
    """

    def __init__(self, plan: Plan[State], run: Run, state: State, desk: Desk) -> None:
        self.plan = plan
        self.standing = Standing(plan, run, state, desk)
        self._desk = desk
        self._writing = threading.Lock()
        self.is_parked = False
        """It waits for something from outside, in nobody's hands."""
        self._reach = plan.reach(run.step) if run.attempts else 0

    @property
    def run(self) -> Run:
        """Where it stands."""
        return self.standing.run

    @property
    def state(self) -> State:
        """What its steps have noted."""
        return self.standing.state

    # Forward

    def begin(self) -> None:
        """Take the steps up to the first command that leaves the process, and write the run down with them.

        What a step raises comes out as it is, and nothing has happened. Raises ``KeyTaken``.
        """
        self.plan.check(self.state)
        try:
            with self._in_time():
                self._begin()
        except StatusError as failure:
            if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED and self._is_late():
                raise too_late(self.run.name) from failure
            raise

    def _begin(self) -> None:
        while self._is_remote and self.plan.only_asks(self._step):
            try:
                self._leave_process()
            except StepFailed as failed:
                raise failed.error from None
        self.standing.begin(self._own_steps)

    def advance(self) -> None:
        """Go on to the end. Raises ``StepFailed`` and ``LeaseLost``."""
        while self.run.status is Status.RUNNING and not self.is_parked:
            try:
                with self._in_time():
                    self._go_on()
            except StepFailed as failed:
                if failed.passing and self._is_late() and not self.must_go_on(failed):
                    error = too_late(self.run.name)
                    raise StepFailed(error, maybe=failed.maybe, passing=False) from failed
                raise

    def _go_on(self) -> None:
        if self._step == len(self.plan.steps):
            self.standing.commit(lambda: replace(self.run, status=Status.DONE))
        elif self._is_late():
            raise StepFailed(too_late(self.run.name), maybe=False, passing=False)
        elif (wait := self.plan.wait_at(self._step)) is not None:
            self._wait(wait)
        elif self._is_remote:
            self._leave_process()
            if self._is_remote and self.standing.has_news:
                self.standing.commit(lambda: self.run)
        else:
            self.standing.commit(self._own_steps)

    def _wait(self, wait: Wait[State]) -> None:
        """Go on if there is nothing to wait for any more, else leave the run until there is."""
        with self._desk.database.reading() as session:
            awaited = self._desk.waits.find(session, self.run.id, wait.name)
        if awaited is not None and awaited.has_come:
            value = awaited.value
            self.standing.commit(lambda: self._behind(wait, lambda state: wait.take(state, value)))
        elif awaited is None or awaited.until is None or self._desk.clock.now() < awaited.until:
            self.is_parked = self.standing.park(
                wait.name, seconds=wait.seconds, deadline=self._deadline()
            )
        elif wait.late is None:
            raise StepFailed(waited_in_vain(self.run.name, wait.name), maybe=False, passing=False)
        else:
            self.standing.commit(lambda: self._behind(wait, wait.late))

    def _behind(self, wait: Wait[State], note: Callable[[State], None] | None) -> Run:
        """End the wait and take the own steps behind it; the run as it is after them."""
        self._do(wait.name, note)
        return self._own_steps(self._step + 1)

    def _leave_process(self) -> None:
        end = self.plan.end(self._step)
        step, *others = self.plan.steps[self._step : end]
        if others:
            self._call_out_at_once([step, *others])
        else:
            self._call_out(step.name, step.action)
        self._moved(end)

    def _call_out_at_once(self, steps: Sequence[Step[State]]) -> None:
        copies, failure = group.at_once(
            steps, self.state, lambda step, state: self._call_out(step.name, step.action, state)
        )
        try:
            group.merge(steps, self.state, copies)
        except RuntimeError as fault:
            raise StepFailed(fault, maybe=True, passing=False) from fault
        if failure is not None:
            raise failure

    def _own_steps(self, place: int | None = None) -> Run:
        """Take the steps from here, or from ``place``, that stay in the process; the run as it is after them."""
        place, count = self._step if place is None else place, len(self.plan.steps)
        while place < count and not self.plan.is_remote[place] and not self.plan.wait_at(place):
            end = self.plan.end(place)
            step, *others = self.plan.steps[place:end]
            if others:
                group.in_turn([step, *others], self.state, self._do_in_group)
            else:
                self._do(step.name, step.action)
            place = end
        status = Status.DONE if place == count else Status.RUNNING
        return replace(self.run, step=place, status=status)

    def _do_in_group(self, step: Step[State], state: State) -> None:
        self._do(step.name, step.action, state)

    # The workflow's own time

    def _seconds_left(self) -> float | None:
        """Until the deadline of the workflow; None where none holds, as behind a pivot or the last step."""
        seconds = self.plan.workflow.deadline_seconds
        if seconds is None or self._step == len(self.plan.steps):
            return None
        if self.plan.is_past_pivot(max(self._step, self._reach)):
            return None
        return seconds - (self._desk.clock.now() - self.run.created_at).total_seconds()

    def _deadline(self) -> datetime | None:
        left = self._seconds_left()
        return None if left is None else self._desk.clock.now() + timedelta(seconds=left)

    def _is_late(self) -> bool:
        left = self._seconds_left()
        return left is not None and left <= 0

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """A block that ends with the workflow's time, or with its caller's."""
        left = self._seconds_left()
        with nullcontext() if left is None else within(left):
            yield

    # Back

    def must_go_on(self, failed: StepFailed) -> bool:
        """Whether there is no way back from this failure."""
        return self.plan.is_past_pivot(self._done_at_most(failed))

    def turn_back(self, failed: StepFailed) -> None:
        """Undo what was done and what may have been. Raises as ``go_back``."""
        done, error = self._done_at_most(failed), written(failed.error)
        self.standing.run = replace(self.run, direction=Direction.UNDO, step=done, error=error)
        self.go_back()

    def go_back(self) -> None:
        """Undo step by step, the last one first, those of a group at once. Raises ``StepFailed`` and ``LeaseLost``."""
        while self.run.status is Status.RUNNING:
            if self._step > self.run.first_step and self._is_undone_elsewhere(self._step - 1):
                if not self.standing.has_turned:
                    # From here on nobody must go forward any more.
                    self.standing.commit(lambda: self.run)
                self._undo_elsewhere()
            else:
                self.standing.commit(self._own_undos)

    def _undo_elsewhere(self) -> None:
        first = max(self.plan.start(self._step - 1), self.run.first_step)
        left = [each for each in range(first, self._step) if self._is_undone_elsewhere(each)]
        steps = [self.plan.steps[each] for each in reversed(left)]
        if len(steps) == 1:
            self._undo(steps[0])
        else:
            copies, failure = group.at_once(steps, self.state, self._undo)
            if failure is not None:  # all of them are left
                raise failure
            group.lay_over(self.state, copies)
        self._moved(first)

    def _undo(self, step: Step[State], state: State | None = None) -> None:
        self._call_out(f"{step.name}/undo", step.undo, state)

    def _own_undos(self) -> Run:
        place, first = self._step, self.run.first_step
        while place > first and not self._is_undone_elsewhere(place - 1):
            place -= 1
            step = self.plan.steps[place]
            self._do(f"{step.name}/undo", step.undo)
        if place <= first:
            return replace(self.run, step=0, status=Status.UNDONE)
        return replace(self.run, step=place)

    def _is_undone_elsewhere(self, place: int) -> bool:
        return self.plan.is_remote[place] and self.plan.steps[place].undo is not None

    def _done_at_most(self, failed: StepFailed) -> int:
        """How many steps may have happened: here, and before the run was taken up, which the log does not tell.

        A refusal says that a step did not happen now. The process before may have done it, and those behind it.
        """
        here = self.plan.end(self._step) if failed.maybe and self._is_remote else self._step
        return max(here, self._reach)

    # One step

    def _call_out(
        self, name: str, action: Callable[[State], None] | None, state: State | None = None
    ) -> None:
        """``state`` is that of a step in a group; by default it is the run's."""
        if action is None:
            return
        call_out(
            self._desk,
            self._shown(name),
            self._mark(name),
            # Writing the run down may have read its state anew.
            lambda: action(self.state if state is None else state),
            prepare=self._keep_lease,
        )

    def _keep_lease(self) -> None:
        with self._writing:  # steps of a group ask at the same time
            self.standing.renew_lease()

    def _do(
        self, name: str, action: Callable[[State], None] | None, state: State | None = None
    ) -> None:
        if action is not None:
            with marked(self._mark(name), self._shown(name)):
                action(self.state if state is None else state)

    def _mark(self, name: str) -> StepMark:
        return StepMark(self._desk.module, self.run.step_key(name))

    def _shown(self, name: str) -> str:
        return f"{self.run.name}.{name.replace('/', '.')}"

    def _moved(self, step: int) -> None:
        self.standing.run = replace(self.run, step=step)

    @property
    def _step(self) -> int:
        return self.run.step

    @property
    def _is_remote(self) -> bool:
        """Whether there is a next step and it leaves the process."""
        return self._step < len(self.plan.steps) and self.plan.is_remote[self._step]
