"""All participants in one process and one database: the workflow is one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from portico.context import StepMark
from portico.workflow.step import marked

if TYPE_CHECKING:
    from portico.data import Database
    from portico.workflow.definition import Workflow

State = TypeVar("State")


def run(
    module: str, database: Database, workflow: Workflow[State], state: State, *, key: str
) -> State:
    """Run all steps in one transaction; whatever a step raises undoes everything and comes out of here."""
    with database.unit_of_work():
        for step in workflow.steps:
            mark = StepMark(module, f"{key}/{step.name}")
            with marked(mark, f"{workflow.name}.{step.name}"):
                step.action(state)
    return state
