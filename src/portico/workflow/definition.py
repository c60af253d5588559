"""A workflow: a use case that changes more than one module, as named steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

State = TypeVar("State")

_LARGEST_GROUP = 8
"""Each of its steps has a thread while it runs."""


@dataclass(frozen=True)
class Step(Generic[State]):
    """One change in one module.

    ``action`` does it and notes in the state what later steps need; ``undo`` takes it back, and is
    left out where there is nothing to take back. Each must do no harm when it runs twice for the
    same run: commands get the step's key as their ``request_id``. ``undo`` never runs while all
    modules share a transaction, since the rollback does its work. Where they do not, it also runs
    when nobody knows whether the action happened, or while that is still on its way: the callee must
    answer the undo of what it has never seen, and refuse the action that comes after it.

    ``at`` is the stub class of the module that the step calls; None for a step in the module's own
    tables. A step calls no module but that one. ``query`` says that it only asks, so that nothing is
    lost when it never ran and nothing is done when it runs again. With ``pivot`` there is no way back
    once the step is done: steps behind it are tried until they succeed, whatever they are told.

    Neighbouring steps that bear the name of one ``group`` do not depend on each other. Those that leave
    the process run at the same time; together they run in turn. None sees what another one notes, and no
    two change the same field of the state, which is a dataclass. When one of them fails, all are
    undone, also the one that was refused, and at the same time again; where two undos change the same
    field, that of the earlier step has the last word, as it would in turn.
    """

    name: str
    action: Callable[[State], None]
    undo: Callable[[State], None] | None = None
    at: type | None = None
    query: bool = False
    pivot: bool = False
    group: str = ""


def _nothing(_: object) -> None:
    pass


def unheard(_: object, __: object) -> None:
    """What a wait does with a value that it has no use for."""


@dataclass(frozen=True)
class Wait(Step[State]):
    """A step in which a run waits for something from outside, say a webhook, and holds no thread.

    It comes by ``Workflows.signal`` with the name of this step, perhaps before the run is here; ``take``
    then notes its value in the state. After ``seconds`` of waiting the run goes on with ``late`` instead
    or, where there is none, is undone. Both run in the transaction of the own steps that follow.

    A workflow with such a step is never one transaction, wherever its modules are: it splits here.
    Raises ValueError for a wait that has no time, or is anything else besides.
    """

    action: Callable[[State], None] = _nothing
    seconds: float = field(default=0.0, kw_only=True)
    take: Callable[[State, Any], None] = field(default=unheard, kw_only=True)
    late: Callable[[State], None] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"wait {self.name} has no time: {self.seconds:g} s")
        if self.at or self.undo or self.query or self.pivot or self.group:
            raise ValueError(f"wait {self.name} can do nothing but wait")


@dataclass(frozen=True)
class Workflow(Generic[State]):
    """Steps in order. ``version`` grows whenever a change would break a run that is under way.

    The state of a new version still takes what earlier ones have written, as long as the log keeps it:
    a repeat of their requests is answered with it.

    ``subject`` tells from the state what a run is about, say the id of an order, for
    :func:`portico.workflow.under_way` and for whoever looks at the log.

    ``deadline_seconds`` bounds a run from its beginning, whoever works on it and however often it is
    resumed: one that is later than that is undone, and whoever asks is told DEADLINE_EXCEEDED with
    WORKFLOW_DEADLINE. Behind a pivot it goes on all the same. While the modules live together it bounds
    the transaction, to its last step.

    Raises ValueError when two steps share a name or there are none, for a deadline that is not positive,
    for a group that is torn apart, has more than eight steps, an own step or a pivot, and for a wait
    without ``late`` behind a pivot.
    """

    name: str
    version: int
    steps: Sequence[Step[State]]
    subject: Callable[[State], str] | None = None
    deadline_seconds: float | None = None

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not names:
            raise ValueError(f"workflow {self.name} has no steps")
        if len(set(names)) != len(names):
            raise ValueError(f"workflow {self.name} has two steps of one name: {', '.join(names)}")
        if self.deadline_seconds is not None and self.deadline_seconds <= 0:
            raise ValueError(f"workflow {self.name} has no time: {self.deadline_seconds:g} s")
        past_pivot = False
        for step in self.steps:
            if past_pivot and isinstance(step, Wait) and step.late is None:
                raise ValueError(f"wait {step.name} is behind a pivot and needs something for late")
            past_pivot = past_pivot or step.pivot
        for group in {step.group for step in self.steps} - {""}:
            _check_group(self.name, group, self.steps)


def _check_group(workflow: str, group: str, steps: Sequence[Step[Any]]) -> None:
    places = [place for place, step in enumerate(steps) if step.group == group]
    members = [steps[place] for place in places]
    what = f"group {group} of workflow {workflow}"
    if len(places) != places[-1] - places[0] + 1:
        raise ValueError(f"{what} is torn apart by other steps")
    if len(places) > _LARGEST_GROUP:
        raise ValueError(f"{what} has more than {_LARGEST_GROUP} steps")
    for step in members:
        if step.at is None or step.pivot:
            raise ValueError(f"{what} has the step {step.name}, which is an own one or a pivot")
