"""All participants in one process and one database: the workflow is one transaction."""

from __future__ import annotations

import time
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, TypeVar

import grpc

from portico.context import StepMark
from portico.errors import StatusError
from portico.workflow.group import in_turn
from portico.workflow.run import too_late
from portico.workflow.step import marked, within

if TYPE_CHECKING:
    from portico.data import Database
    from portico.workflow.definition import Step, Workflow

State = TypeVar("State")


def run(
    module: str, database: Database, workflow: Workflow[State], state: State, *, key: str
) -> State:
    """Run all steps in one transaction; whatever a step raises undoes everything and comes out of here."""
    seconds = workflow.deadline_seconds
    if seconds is None:
        return _run(module, database, workflow, state, key=key)
    until = time.monotonic() + seconds
    try:
        with within(seconds):
            return _run(module, database, workflow, state, key=key, until=until)
    except StatusError as failure:
        is_over = failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() >= until
        if is_over:  # and not only its caller's time
            raise too_late(workflow.name) from failure
        raise


def _run(
    module: str,
    database: Database,
    workflow: Workflow[State],
    state: State,
    *,
    key: str,
    until: float = inf,
) -> State:
    def do(step: Step[State], state: State) -> None:
        mark = StepMark(module, f"{key}/{step.name}")
        with marked(mark, f"{workflow.name}.{step.name}"):
            step.action(state)

    with database.unit_of_work():
        for name, steps in groupby(workflow.steps, key=lambda step: step.group):
            if name:
                in_turn(list(steps), state, do)
            else:
                for step in steps:
                    do(step, state)
        if time.monotonic() >= until:
            raise too_late(workflow.name)
    return state
