"""Participants in several processes: a run is a durable saga, driven here and finished by recovery."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from portico.context import Call, current, entered
from portico.data import TransactionMisuseError
from portico.events.publisher import headers_of, origin_of
from portico.telemetry import logs
from portico.workflow.course import Course
from portico.workflow.following import follow
from portico.workflow.log import LeaseLost
from portico.workflow.outcome import StepFailed
from portico.workflow.run import Direction, Run, Status, still_running
from portico.workflow.step import within

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from portico.workflow.desk import Desk
    from portico.workflow.log import Version
    from portico.workflow.plan import Plan

State = TypeVar("State")

_log = logs.logger("portico.workflow")

_SHARE_FOR_ANSWER = 0.1
_LONGEST_FOR_ANSWER_SECONDS = 0.5


class Apart:
    """Runs workflows whose steps leave the process, and takes up those that were left half way."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def run(self, plan: Plan[State], state: State, *, key: str) -> State:
        """As ``Workflows.run``."""
        if current().transaction is not None:
            raise TransactionMisuseError(
                f"{plan.workflow.name} leaves the process, or waits, and cannot run inside a unit of work"
            )
        with _time_to_answer():
            return self._run(plan, state, key)

    def _run(self, plan: Plan[State], state: State, key: str) -> State:
        course = self._new(plan, state, key)
        asked_at = self._desk.clock.now()
        try:
            course.begin()
        except Exception as failure:
            earlier = self._earlier(course.run, asked_at, failure)
            if earlier is None:
                raise
            if earlier.id == course.run.id:
                course.standing.adopt(earlier)
                return self._go_on(course)
        else:
            return self._go_on(course)
        return plan.answer(follow(self._desk, plan, earlier))

    def answer(self, plan: Plan[State], *, key: str) -> State | None:
        """What the run of ``key`` that is under way or done came to; None when there is none. Waits for it."""
        if current().transaction is not None:
            return None
        with self._desk.database.reading() as session:
            if not self._desk.log.is_there(session):
                return None
            now = self._desk.clock.now()
            run = self._desk.log.of_key(session, plan.workflow.name, key, undone_since=now)
        return None if run is None else plan.answer(follow(self._desk, plan, run))

    def _new(self, plan: Plan[State], state: State, key: str) -> Course[State]:
        call, left = current(), current().time_remaining()
        now = self._desk.clock.now()
        run = Run(
            id=self._desk.ids.uuid(),
            name=plan.workflow.name,
            version=plan.workflow.version,
            key=key,
            subject="",
            state={},
            headers=headers_of(call.origin),
            deadline_at=None if left is None else now + timedelta(seconds=left),
            direction=Direction.FORWARD,
            status=Status.RUNNING,
            step=0,
            error=None,
            attempts=0,
            owner=self._desk.new_owner(),
            created_at=now,
        )
        return Course(plan, run, state, self._desk)

    def _earlier(self, run: Run, asked_at: datetime, failure: Exception) -> Run | None:
        """The run that has this key already: it, and no error of this attempt, is the answer."""
        try:
            with self._desk.database.reading() as session:
                return self._desk.log.of_key(session, run.name, run.key, undone_since=asked_at)
        except Exception:  # noqa: BLE001  # then the first error is the one to tell
            raise failure from None

    def _go_on(self, course: Course[State]) -> State:
        try:
            course.advance()
        except LeaseLost:
            return self._followed(course)
        except StepFailed as failed:
            failure = failed
        else:
            if course.is_parked:
                raise still_running(course.run)
            return course.state
        try:
            answer = self._without_success(course, failure)
        except LeaseLost:
            return self._followed(course)
        raise answer

    def _followed(self, course: Course[State]) -> State:
        """What becomes of the run in the hands of whoever took it up."""
        found = self._desk.find(course.run.id)
        return course.plan.answer(follow(self._desk, course.plan, found or course.run))

    def _without_success(self, course: Course[State], failed: StepFailed) -> Exception:
        """See to it that the run ends, here or by recovery; what to tell the caller. Raises ``LeaseLost``."""
        time_is_over = not current().is_active()
        seconds = self._desk.settings.undo_seconds
        with self._desk.apart_from_caller(course.run, seconds=seconds):
            if course.must_go_on(failed) or (failed.passing and time_is_over):
                self._leave(course, failed)
                return still_running(course.run)
            try:
                course.turn_back(failed)
            except LeaseLost:
                raise
            except Exception as trouble:  # noqa: BLE001  # recovery goes on with it
                self._leave(course, trouble)
        # Before that is on disk another process may go forward, and what failed may succeed.
        return failed.error if course.standing.has_turned else still_running(course.run)

    def _leave(self, course: Course[State], why: Exception) -> None:
        cause = why.error if isinstance(why, StepFailed) else why
        _log.warning(
            "a workflow is left to recovery",
            workflow=course.run.name,
            run_id=str(course.run.id),
            why=str(cause),
        )
        try:
            course.standing.leave(delay_seconds=0.0, why=why)
        except Exception:  # noqa: BLE001  # its lease ends by itself
            _log.warning("the lease of a run could not be given up", exc_info=True)

    # Recovery

    def take_up(self, plans: dict[Version, Plan[object]]) -> Run | None:
        """Go on with one run that nobody works on; the run as it stands then, or None when there was none."""
        run = self._take(plans)
        if run is None:
            return None
        plan = plans[run.name, run.version]
        try:
            course = Course(plan, run, plan.decode(run.state), self._desk)
        except TypeError as unread:
            return self._give_up(run, unread)
        deadline = time.monotonic() + self._desk.settings.turn_seconds
        call = Call(None, origin_of(run.headers), run.name, self._desk.module, "", deadline, ())
        with entered(call):
            try:
                self._drive(course)
            except LeaseLost:
                _log.warning("somebody else works on a run", run_id=str(run.id))
            except Exception as trouble:  # noqa: BLE001  # whatever it is: try again later
                self._postpone(course, trouble)
        return course.run

    def _take(self, plans: dict[Version, Plan[object]]) -> Run | None:
        now, owner = self._desk.clock.now(), self._desk.new_owner()
        known: Sequence[Version] = list(plans)
        with self._desk.database.unit_of_work() as session:
            lease = self._desk.lease(owner, now)
            return self._desk.log.take(session, known=known, lease=lease, now=now)

    def _give_up(self, run: Run, unread: TypeError) -> Run:
        """Its state is not the one that its version has: no attempt would change that."""
        given_up, now = replace(run, status=Status.DEAD), self._desk.clock.now()
        with self._desk.database.unit_of_work() as session:
            self._desk.log.leave(
                session,
                given_up,
                owner=run.owner,
                next_attempt_at=now,
                last_error=f"{type(unread).__name__}: {unread}",
                now=now,
            )
        _log.error(
            "a workflow is given up: its state does not fit its version",
            workflow=run.name,
            run_id=str(run.id),
            why=str(unread),
        )
        return given_up

    def _drive(self, course: Course[object]) -> None:
        if course.run.attempts > self._desk.settings.max_attempts:  # or somebody would have left it
            raise RuntimeError("it ended every process that took it up")
        if course.run.direction is Direction.UNDO:
            course.go_back()
            return
        try:
            course.advance()
        except StepFailed as failed:
            may_wait = course.run.attempts < self._desk.settings.forward_attempts
            if course.must_go_on(failed) or (failed.passing and may_wait):
                raise
            failure = failed
        else:
            return
        course.turn_back(failure)

    def _postpone(self, course: Course[object], trouble: Exception) -> None:
        delay = self._delay_seconds(course.run.attempts)
        with self._desk.apart_from_caller(course.run, seconds=self._desk.settings.undo_seconds):
            course.standing.leave(delay_seconds=delay, why=trouble)
        why = trouble.error if isinstance(trouble, StepFailed) else trouble
        told = {"workflow": course.run.name, "run_id": str(course.run.id), "why": str(why)}
        if course.run.status is Status.DEAD:
            _log.error("a workflow is given up; a person has to look", **told)
        else:
            _log.warning("a workflow could not go on; it is tried again", **told)

    def _delay_seconds(self, attempts: int) -> float:
        """Twice as long each time, and by chance up to half shorter."""
        settings = self._desk.settings
        longest = settings.first_delay_seconds * 2.0 ** min(attempts - 1, 30)
        return min(longest, settings.longest_delay_seconds) * self._desk.random.uniform(0.5, 1.0)


def _time_to_answer() -> AbstractContextManager[object]:
    """A block that ends a little before its caller's time: or that would hear of its deadline, and not of the run."""
    left = current().time_remaining()
    if left is None:
        return nullcontext()
    return within(left - min(left * _SHARE_FOR_ANSWER, _LONGEST_FOR_ANSWER_SECONDS))
