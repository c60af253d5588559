"""What a step can ask while it runs: its key, and leave to be refused."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from portico.context import Call, current, entered
from portico.telemetry.spans import part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.context import StepMark


def step_key() -> str:
    """Inside a step: the key to send as ``request_id``, the same whenever this step is repeated.

    Where the modules live apart it begins with the id of the run, so that a request that is tried
    anew after it was undone has new keys. At most 128 characters with a step's name of up to 80.
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
def within(seconds: float) -> Iterator[Call]:
    """A block that has so much time, and never more than the call that it is in."""
    above = current()
    until = time.monotonic() + max(seconds, 0.0)
    deadline = until if above.deadline is None else min(until, above.deadline)
    call = Call(above, above.origin, above.method, above.module, above.caller, deadline, ())
    with entered(call):
        yield call


@contextmanager
def marked(mark: StepMark, name: str) -> Iterator[None]:
    """A block whose calls are made inside the step that ``mark`` names; ``name`` is for traces."""
    call = current()
    before = call.step
    call.step = mark
    try:
        with part(f"step {name}"):
            yield
    finally:
        call.step = before
