"""All participants in one process and one database: the workflow is one transaction."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from portico.context import StepMark, current

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.data import Database
    from portico.workflow.definition import Workflow

State = TypeVar("State")


class Workflows:
    """Runs the workflows of one module."""

    def __init__(self, *, module: str, database: Database) -> None:
        self._module = module
        self._database = database

    def run(self, workflow: Workflow[State], state: State, *, key: str) -> State:
        """Run all steps in one transaction and return the state they left.

        ``key`` names this run, the same for every repeat of the same request. Whatever a step raises
        undoes everything and comes out of here unchanged.
        """
        with self._database.unit_of_work():
            for step in workflow.steps:
                with _step(StepMark(self._module, f"{key}/{step.name}")):
                    step.action(state)
        return state


def step_key() -> str:
    """Inside a step: the key to send as ``request_id``, the same whenever this step is repeated.

    Raises RuntimeError outside a workflow.
    """
    mark = current().step
    if mark is None:
        raise RuntimeError("step_key() is for the steps of a workflow")
    return mark.key


@contextmanager
def trying() -> Iterator[None]:
    """Inside a step: around a command that may refuse, when the step knows what to do instead.

    with trying():
        payments.Void(...)

    A refusal undoes what the command did, as it would in another process, and the step that catches
    it goes on. Outside of such a block a refusal ends the workflow even when it is caught. Raises
    RuntimeError outside a workflow.
    """
    call = current()
    mark = call.step
    if mark is None:
        raise RuntimeError("trying() is for the steps of a workflow")
    call.step = replace(mark, trying=True)
    try:
        yield
    finally:
        call.step = mark


@contextmanager
def _step(mark: StepMark) -> Iterator[None]:
    call = current()
    before = call.step
    call.step = mark
    try:
        yield
    finally:
        call.step = before
