"""A workflow as one process runs it: which of its steps leave the process, and how its state is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import orjson

from portico import errors
from portico.workflow.definition import Wait
from portico.workflow.run import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.workflow.definition import Step, Workflow
    from portico.workflow.run import Run

State = TypeVar("State")
Strategy = Literal["together", "apart"]


class Plan(Generic[State]):
    """Made once for each workflow of a process."""

    def __init__(
        self, workflow: Workflow[State], kind: type[State], *, is_local: Callable[[type], bool]
    ) -> None:
        """``kind`` is the dataclass of the state; its fields are plain data."""
        self.workflow = workflow
        self.steps = tuple(workflow.steps)
        self._ends = _ends(self.steps)
        leaves = [is_remote(step.at, is_local) for step in self.steps]
        # Of a group in which one step leaves the process, all are transactions of their own.
        self.is_remote = tuple(
            any(leaves[each] for each in self._group_around(place))
            for place in range(len(self.steps))
        )
        self._kind = kind

    @property
    def state_class(self) -> type[State]:
        """The dataclass of the state."""
        return self._kind

    @property
    def strategy(self) -> Strategy:
        """Together when no step leaves the process or waits."""
        return "apart" if any(self.is_remote) or self.waits else "together"

    @property
    def waits(self) -> bool:
        """Whether any step waits for something from outside."""
        return waits(self.workflow)

    def wait_at(self, place: int) -> Wait[State] | None:
        """The step at ``place`` if it is one that waits."""
        step = self.steps[place] if place < len(self.steps) else None
        return step if isinstance(step, Wait) else None

    def end(self, place: int) -> int:
        """Behind the steps that are taken with the one at ``place``: of its group, or it alone."""
        return self._ends[place]

    def is_parked(self, run: Run) -> bool:
        """Whether ``run`` waits, in nobody's hands."""
        is_at_wait = run.version == self.workflow.version and self.wait_at(run.step) is not None
        return is_at_wait and not run.owner and run.direction is Direction.FORWARD

    def only_asks(self, place: int) -> bool:
        """Whether the step at ``place``, with its group, changes nothing."""
        return all(step.query for step in self.steps[place : self.end(place)])

    def is_first(self, place: int) -> bool:
        """Whether the step at ``place`` is the first of its group, or in none."""
        return self.start(place) == place

    def start(self, place: int) -> int:
        """The first of the steps that are taken with the one at ``place``: of its group, or it alone."""
        return self._group_around(place).start

    def _group_around(self, place: int) -> range:
        group, end = self.steps[place].group, self._ends[place]
        while group and place > 0 and self.steps[place - 1].group == group:
            place -= 1
        return range(place, end)

    def is_past_pivot(self, done: int) -> bool:
        """Whether there is no way back after the first ``done`` steps."""
        return any(step.pivot for step in self.steps[:done])

    def reach(self, done: int) -> int:
        """How many steps may be done when the log says ``done``.

        Those that leave the process are not told at once; and which ones do may have been different
        for the process before.
        """
        while done < len(self.steps) and self.steps[done].at is not None:
            done += 1
        return done

    def subject(self, state: State) -> str:
        """What a run is about; empty when the workflow does not say."""
        return "" if self.workflow.subject is None else self.workflow.subject(state)

    def encode(self, state: State) -> str:
        """The state as JSON. Raises TypeError when it has anything but plain data."""
        return orjson.dumps(state).decode()

    def decode(self, written: dict[str, Any]) -> State:
        """The state that was written down."""
        return self._kind(**written)

    def answer(self, run: Run) -> State:
        """The state that ``run`` left, perhaps one of an older version.

        FAILED_PRECONDITION with WORKFLOW_ANSWER_OUTDATED when this version does not take it.
        """
        try:
            return self.decode(run.state)
        except TypeError as unread:
            raise errors.failed_precondition(
                "WORKFLOW_ANSWER_OUTDATED",
                "this was done before an update, and its answer can no longer be read",
                workflow=run.name,
                run_id=run.id,
                version=run.version,
            ) from unread

    def check(self, state: State) -> None:
        """Raise TypeError for a state that would come back as something else, such as a tuple."""
        if type(state) is not self._kind or self.decode(orjson.loads(self.encode(state))) != state:
            raise TypeError(
                f"the state of {self.workflow.name} is not a {self._kind.__name__} of plain data: "
                "lists, dicts, strings, numbers, booleans and None"
            )


def _ends(steps: Sequence[Step[Any]]) -> tuple[int, ...]:
    ends: list[int] = []
    for place, step in reversed(list(enumerate(steps))):
        goes_on = step.group and place + 1 < len(steps) and steps[place + 1].group == step.group
        ends.insert(0, ends[0] if goes_on else place + 1)
    return tuple(ends)


def is_remote(stub_class: type | None, is_local: Callable[[type], bool]) -> bool:
    """Whether a step at this stub class leaves the process."""
    return stub_class is not None and not is_local(stub_class)


def waits(workflow: Workflow[Any]) -> bool:
    """Whether any step of it waits for something from outside."""
    return any(isinstance(step, Wait) for step in workflow.steps)
