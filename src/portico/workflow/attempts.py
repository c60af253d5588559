"""Trying a step until it succeeds, is refused, or there is no time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from portico.context import Call, current, entered
from portico.workflow.log import LeaseLost
from portico.workflow.outcome import StepFailed, outcome_of
from portico.workflow.step import marked

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.context import StepMark
    from portico.workflow.desk import Desk


def call_out(
    desk: Desk,
    name: str,
    mark: StepMark,
    action: Callable[[], None],
    *,
    prepare: Callable[[], None] | None = None,
) -> None:
    """Run a step that leaves the process, within a deadline. Raises ``StepFailed``.

    ``prepare`` comes before each attempt; what it raises says nothing about the step.
    """

    def attempt() -> None:
        if prepare is not None:
            prepare()
        above = current()
        until = time.monotonic() + desk.settings.step_timeout_seconds
        deadline = until if above.deadline is None else min(until, above.deadline)
        call = Call(above, above.origin, name, desk.module, above.caller, deadline, ())
        with entered(call), marked(mark, name):
            action()

    repeat(desk, attempt)


def repeat(desk: Desk, attempt: Callable[[], None]) -> None:
    """Make up to ``step_attempts`` attempts with pauses between them. Raises ``StepFailed``.

    One attempt of which nobody knows how it ended makes the whole uncertain, whatever comes after it.
    """
    maybe = False
    for number in range(desk.settings.step_attempts):
        try:
            attempt()
        except LeaseLost:
            raise
        except StepFailed as unprepared:
            raise StepFailed(unprepared.error, maybe=maybe, passing=unprepared.passing) from None
        except Exception as error:  # noqa: BLE001  # whatever a step raises is judged
            outcome, failure = outcome_of(error), error
        else:
            return
        maybe = maybe or outcome.maybe
        pause = desk.settings.step_delay_seconds * 2**number * desk.random.uniform(0.5, 1.0)
        last = number + 1 == desk.settings.step_attempts
        if last or not outcome.again or not _has_time(pause):
            break
        time.sleep(pause)
    raise StepFailed(failure, maybe=maybe, passing=outcome.passing) from failure


def _has_time(pause: float) -> bool:
    call = current()
    left = call.time_remaining()
    return call.is_active() and (left is None or left > pause)
