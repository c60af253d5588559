"""Waiting for a run that somebody else works on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from portico.context import current
from portico.workflow.outcome import read
from portico.workflow.run import Run, Status, dead, still_running

if TYPE_CHECKING:
    from portico.workflow.desk import Desk
    from portico.workflow.plan import Plan

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.2
_SHARE_OF_TIME = 0.9
"""Of what the caller has left: the rest is for telling what came of it."""


def follow(desk: Desk, plan: Plan[Any], run: Run) -> Run:
    """The run once it is done. Raises what it was undone for, or WORKFLOW_RUNNING when that takes too long.

    Nobody waits for a run that itself waits for something from outside.
    """
    until = time.monotonic() + _patience(desk)
    pause = _FIRST_PAUSE_SECONDS
    while run.status is Status.RUNNING and time.monotonic() + pause < until:
        if not current().is_active() or plan.is_parked(run):
            break
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
        run = desk.find(run.id) or run
    if run.status is Status.DONE:
        return run
    if run.error is not None:  # decided, though perhaps not undone to the end
        raise read(run.error)
    raise dead(run) if run.status is Status.DEAD else still_running(run)


def _patience(desk: Desk) -> float:
    left = current().time_remaining()
    most = desk.settings.wait_seconds
    return most if left is None else left * _SHARE_OF_TIME
