"""Bugs that the proof must find, each put into a forked process from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, cast

from portico.v1 import events_service_pb2 as pb

from portico.data import Database
from portico.events import inbox
from portico.events.receiver import UnreachableError
from portico.events.streams.carrier import StreamCarrier
from portico.workflow import Workflow, Workflows, together
from portico.workflow.run import Run
from portico.workflow.standing import Standing


def plant(bug: str) -> None:
    """Have every program that this process makes from now on have the bug; none when it is empty."""
    if bug:
        _BUGS[bug]()


def _leave_undos_out() -> None:
    """What other modules have done for a workflow stays when the workflow is undone."""
    define = Workflows.define

    def careless(self: Workflows, workflow: Workflow[Any], *, state: type[Any]) -> Workflow[Any]:
        steps = [step if step.at is None else replace(step, undo=None) for step in workflow.steps]
        return define(self, replace(workflow, steps=steps), state=state)

    _put(Workflows, "define", careless)


def _remove_inbox_check() -> None:
    """Every event counts as new."""
    received = inbox.received

    def always(*arguments: Any, **named: Any) -> bool:
        received(*arguments, **named)
        return True

    inbox.received = always
    inbox.has = lambda *_, **__: False  # else what is not in a transaction would find it there


def _commit_before_log() -> None:
    """The own steps of a workflow are committed, and then its log entry is."""

    def careless(
        write: Callable[[Standing[Any], Callable[[], Run]], None],
    ) -> Callable[[Standing[Any], Callable[[], Run]], None]:
        def first_commit(self: Standing[Any], work: Callable[[], Run]) -> None:
            with self._desk.database.unit_of_work():
                after = work()
            write(self, lambda: after)

        return first_commit

    for method in ("begin", "_commit_once"):
        _put(Standing, method, careless(getattr(Standing, method)))


def _take_written_for_delivered() -> None:
    """An event that Redis has taken counts as delivered when no answer comes."""
    append, carry = StreamCarrier._append, StreamCarrier.carry
    here = threading.local()

    def noting(self: StreamCarrier, *arguments: Any) -> bytes:
        entry = append(self, *arguments)
        here.is_written = True
        return entry

    def careless(
        self: StreamCarrier, request: pb.DeliverRequest, *, seconds: float
    ) -> pb.DeliverResponse:
        here.is_written = False
        try:
            return carry(self, request, seconds=seconds)
        except UnreachableError:
            if not here.is_written:
                raise
            done = pb.DeliverResponse.Outcome(state=pb.DeliverResponse.State.DONE)
            return pb.DeliverResponse(outcomes=[done for _ in request.events])

    _put(StreamCarrier, "_append", noting)
    _put(StreamCarrier, "carry", careless)


def _commit_each_step() -> None:
    """Where all modules are together, each step of a workflow is a transaction of its own all the same."""
    run = together.run

    def careless(module: str, _: Database, *arguments: Any, **named: Any) -> Any:
        return run(module, cast("Database", _Loose()), *arguments, **named)

    _put(together, "run", careless)


class _Loose:
    """A database whose transactions hold nothing together."""

    def unit_of_work(self) -> AbstractContextManager[None]:
        return nullcontext()


def _put(kind: object, method: str, careless: Callable[..., Any]) -> None:
    setattr(kind, method, careless)


_BUGS = {
    "undo": _leave_undos_out,
    "inbox": _remove_inbox_check,
    "log": _commit_before_log,
    "stream": _take_written_for_delivered,
    "steps": _commit_each_step,
}
BUGS = tuple(_BUGS)
