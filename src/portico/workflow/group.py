"""Steps that do not depend on each other: at the same time where they leave the process, else in turn."""

from __future__ import annotations

import threading
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from portico.context import Call, current, entered
from portico.telemetry.spans import nearest
from portico.workflow.outcome import StepFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.workflow.definition import Step

State = TypeVar("State")


def in_turn(
    steps: Sequence[Step[State]], state: State, do: Callable[[Step[State], State], None]
) -> None:
    """Do them one after the other in this thread, none seeing what another notes. Raises as ``merge``."""
    copies = [deepcopy(state) for _ in steps]
    for step, copy in zip(steps, copies, strict=True):
        do(step, copy)
    merge(steps, state, copies)


def at_once(
    steps: Sequence[Step[State]], state: State, do: Callable[[Step[State], State], None]
) -> tuple[list[State], BaseException | None]:
    """Do them at the same time and wait for all; the state that each leaves, and why not all are done.

    That is the first error which is no ``StepFailed``, else a ``StepFailed`` that speaks for all: of a
    refusal before an outage, of an earlier step before a later one.
    """
    members = [_Member(step, deepcopy(state), do) for step in steps]
    here, *others = members
    for each in others:
        each.start()
    here.run()
    for each in others:
        each.join()
    errors = [each.error for each in members if each.error is not None]
    return [each.state for each in members], _of_all(errors) if errors else None


def merge(steps: Sequence[Step[State]], state: State, copies: Sequence[State]) -> None:
    """Note in ``state`` what each step noted in its copy. RuntimeError when two noted in one field."""
    changed: dict[str, tuple[str, Any]] = {}
    for step, copy in zip(steps, copies, strict=True):
        for name, value in _noted(state, copy).items():
            if name in changed:
                raise RuntimeError(
                    f"the steps {changed[name][0]} and {step.name} of one group both change {name}"
                )
            changed[name] = step.name, value
    for name, (_, value) in changed.items():
        setattr(state, name, value)


def lay_over(state: State, copies: Sequence[State]) -> None:
    """Note in ``state`` what was noted in each copy; what two noted in one field is the later one's.

    For undos, which have to come to an end whatever they note.
    """
    changed: dict[str, Any] = {}
    for copy in copies:
        changed |= _noted(state, copy)
    for name, value in changed.items():
        setattr(state, name, value)


def _noted(state: State, copy: State) -> dict[str, Any]:
    """The fields of ``copy`` that differ."""
    if not is_dataclass(state):
        raise TypeError(f"the state of steps in a group is a dataclass, not {type(state).__name__}")
    both = ((field.name, getattr(copy, field.name)) for field in fields(state))
    return {name: value for name, value in both if value != getattr(state, name)}


class _Member(Generic[State]):
    """One of the steps, in a thread of its own or, for ``run``, in this one."""

    def __init__(
        self, step: Step[State], state: State, do: Callable[[Step[State], State], None]
    ) -> None:
        self.state = state
        self.error: BaseException | None = None
        self._work = partial(do, step, state)
        self._thread = threading.Thread(
            target=self._run_entered, name=f"portico-step-{step.name}", daemon=True
        )

    def start(self) -> None:
        """Begin, as a call of its own with what this one may do, for whom and until when."""
        above = current()
        self._call = Call(
            None, above.origin, above.method, above.module, above.caller, above.deadline, ()
        )
        self._call.span = nearest(above)
        above.line.has_under_way(self)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def cancel_from_above(self) -> None:
        self._call.line.cancel()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  # the thread that waits for all raises it
            self.error = error

    def _run_entered(self) -> None:
        with entered(self._call):
            self.run()


def _of_all(errors: Sequence[BaseException]) -> BaseException:
    failures = [each for each in errors if isinstance(each, StepFailed)]
    if len(failures) < len(errors):  # a lease that is lost, a process that ends
        return next(each for each in errors if not isinstance(each, StepFailed))
    refused = [each for each in failures if not each.passing]
    told = (refused or failures)[0]
    # The others are done, or may be.
    return StepFailed(told.error, maybe=True, passing=not refused)
