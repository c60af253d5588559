"""One run of a workflow, as its row in the log tells it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from portico import errors

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Direction(StrEnum):
    """Where a run goes."""

    FORWARD = "FORWARD"
    UNDO = "UNDO"


class Status(StrEnum):
    """Whether it has arrived."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    UNDONE = "UNDONE"
    DEAD = "DEAD"
    """Given up; kept for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """``step`` counts the steps that are done or, while it is undone, that may have been and are left.

    ``headers`` tell for whom it runs, as those of an event do, and of a fork where it comes from.
    ``error`` is why it is undone, as :mod:`portico.workflow.outcome` writes it.
    """

    id: UUID
    name: str
    version: int
    key: str
    subject: str
    state: dict[str, Any]
    headers: dict[str, Any]
    deadline_at: datetime | None
    direction: Direction
    status: Status
    step: int
    error: dict[str, Any] | None
    attempts: int
    owner: str
    created_at: datetime

    @property
    def is_undone(self) -> bool:
        """Whether it is being undone, or was."""
        return self.direction is Direction.UNDO

    @property
    def has_ended(self) -> bool:
        """Whether it is done or undone."""
        return self.status in (Status.DONE, Status.UNDONE)

    @property
    def first_step(self) -> int:
        """Where it began: a fork of another run does not have the steps before that, and never undoes them."""
        return int(self.headers.get("first_step", 0))

    def step_key(self, step: str) -> str:
        """What the step's command is called, in this run and no other."""
        return f"{self.id}/{step}"


def still_running(run: Run) -> errors.StatusError:
    """The run goes on without its caller, who may ask again with the same request."""
    return errors.aborted(
        "WORKFLOW_RUNNING",
        "this takes longer than you can wait and goes on by itself; "
        "ask again with the same request_id (REST: Idempotency-Key) for the answer",
        workflow=run.name,
        run_id=run.id,
    )


def too_late(workflow: str) -> errors.StatusError:
    """The workflow's own time is over."""
    return errors.deadline_exceeded(
        "WORKFLOW_DEADLINE", "this took longer than it may, and is taken back", workflow=workflow
    )


def waited_in_vain(workflow: str, name: str) -> errors.StatusError:
    """What a run waited for has not come in its time."""
    return errors.failed_precondition(
        "WORKFLOW_WAIT_OVER",
        "what this waited for has not come in time, and it is taken back",
        workflow=workflow,
        wait=name,
    )


def dead(run: Run) -> errors.StatusError:
    """The run was given up half way."""
    return errors.internal(
        "WORKFLOW_DEAD",
        "this could neither be finished nor undone; a person has to look",
        workflow=run.name,
        run_id=run.id,
    )
