"""All participants in one process and one database: the workflow is one transaction."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import grpc

from portico.context import StepMark
from portico.errors import StatusError
from portico.workflow.group import in_turn
from portico.workflow.run import too_late
from portico.workflow.step import marked, within

if TYPE_CHECKING:
    from portico.context import Call
    from portico.data import Database
    from portico.workflow.definition import Step, Workflow

State = TypeVar("State")


def run(
    module: str, database: Database, workflow: Workflow[State], state: State, *, key: str
) -> State:
    """Run all steps in one transaction; whatever a step raises undoes everything and comes out of here."""
    if workflow.deadline_seconds is None:
        return _run(module, database, workflow, state, key=key)
    with within(workflow.deadline_seconds) as call:
        try:
            return _run(module, database, workflow, state, key=key, call=call)
        except StatusError as failure:
            is_late = failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not call.is_active()
            if is_late and (call.parent is None or call.parent.is_active()):
                raise too_late(workflow.name) from failure
            raise


def _run(
    module: str,
    database: Database,
    workflow: Workflow[State],
    state: State,
    *,
    key: str,
    call: Call | None = None,
) -> State:
    def do(step: Step[State], state: State) -> None:
        mark = StepMark(module, f"{key}/{step.name}")
        with marked(mark, f"{workflow.name}.{step.name}"):
            step.action(state)
        if call is not None and not call.is_active():
            raise too_late(workflow.name)

    with database.unit_of_work():
        for name, steps in groupby(workflow.steps, key=lambda step: step.group):
            if name:
                in_turn(list(steps), state, do)
            else:
                for step in steps:
                    do(step, state)
    return state
