"""A workflow: a use case that changes more than one module, as named steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

State = TypeVar("State")


@dataclass(frozen=True)
class Step(Generic[State]):
    """One change in one module.

    ``action`` does it and notes in the state what later steps need; ``undo`` takes it back, and is
    left out where there is nothing to take back. Each must do no harm when it runs twice for the
    same workflow: commands get the step's key as their ``request_id``. ``undo`` never runs while all
    modules share a transaction, since the rollback does its work.
    """

    name: str
    action: Callable[[State], None]
    undo: Callable[[State], None] | None = None


@dataclass(frozen=True)
class Workflow(Generic[State]):
    """Steps in order. ``version`` grows whenever a change would break a workflow that is under way.

    Raises ValueError when two steps share a name or there are none.
    """

    name: str
    version: int
    steps: Sequence[Step[State]]

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not names:
            raise ValueError(f"workflow {self.name} has no steps")
        if len(set(names)) != len(names):
            raise ValueError(f"workflow {self.name} has two steps of one name: {', '.join(names)}")
