"""What a workflow lacks to be a saga: ways back, requests that can be repeated, a state that can be written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from portico.check.split.finding import (
    Finding,
    is_command,
    is_idempotent,
    rpc_name,
    takes_request_id,
)
from portico.check.split.mentions import Call, Change, Naming
from portico.check.split.saga import commands
from portico.workflow.definition import Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.check.split.entries import Stage
    from portico.check.split.finding import Severity
    from portico.check.split.saga import Saga
    from portico.check.split.walk import Sighting

_PLAIN = (str, int, float, list, dict, NoneType)
_HOLDERS = {list, dict, Sequence, Mapping, Union, UnionType}


def saga_findings(saga: Saga) -> Iterator[Finding]:
    """What would be lost when the workflow runs as a saga, and what is to be known."""
    for stage in saga.stages:
        if not saga.is_found(stage):
            yield from _at(saga, stage, "is in no source that was found: look for yourself", "note")
        if not stage.is_undo:
            yield from _without_way_back(saga, stage)
            yield from _only_asking(saga, stage)
        if saga.is_new(stage):
            yield from _repeated(saga, stage)
            yield from _astray(saga, stage)
    if saga.was_together:
        yield from _of_state(saga)
        yield from _in_between(saga)


def _without_way_back(saga: Saga, stage: Stage) -> Iterator[Finding]:
    step = stage.step
    if step.query or step.undo is not None or saga.after.is_past_pivot(stage.place + 1):
        return
    later = saga.commits_before(stage)
    if later and saga.changes(stage):
        yield from _at(
            saga,
            stage,
            f"has no undo, and is committed before step {later}, which may fail. {_remedy(stage)}",
        )


def _remedy(stage: Stage) -> str:
    if isinstance(stage.step, Wait):  # which can have neither
        return "Let it note in the state what came, and change rows in a step behind it"
    return "Give it one, make it the last, or say pivot=True where there is no way back"


def _only_asking(saga: Saga, stage: Stage) -> Iterator[Finding]:
    if not stage.step.query:
        return
    for each in saga.own(stage):
        if each.what is Change or commands(each):
            yield _seen(
                each,
                f"{stage} says query=True but changes something here: nobody would undo that. Leave query"
                " away, and give the step an undo",
            )
    if saga.is_new(stage):
        yield from _at(
            saga,
            stage,
            f"asks {saga.callees[stage.place]} before the transaction of the steps behind it, and no longer in"
            " it: the answer may be out of date when they commit",
            "note",
        )


def _repeated(saga: Saga, stage: Stage) -> Iterator[Finding]:
    own, callee = saga.own(stage), saga.callees[stage.place]
    is_named = any(each.what is Naming for each in own)
    for each in own:
        if each.callee != callee or not commands(each):
            continue
        name = f"{rpc_name(each.path)} of {callee}"
        if not is_idempotent(each.path):
            yield _seen(
                each,
                f"{name} is repeated when its answer is lost, and its contract does not say IDEMPOTENT: it may"
                f" happen twice ({stage})",
            )
        elif not takes_request_id(each.path):
            yield _seen(
                each,
                f"{name} has no request_id: its other fields alone tell a repeat from a second command"
                f" ({stage})",
                "note",
            )
        elif not is_named:
            yield _seen(
                each,
                f"{name} is sent without a request_id: a repeat would be a second command. Fill it with"
                f" step_key() ({stage})",
            )


def _astray(saga: Saga, stage: Stage) -> Iterator[Finding]:
    callee = saga.callees[stage.place]
    for each in saga.own(stage):
        if each.what is Change:
            yield _seen(
                each,
                f"{stage} is at {callee} and changes tables of {saga.module} too: that commits without the log"
                " of the workflow. Make a step of its own of it",
            )
        elif each.what is Call and each.callee not in {callee, saga.module}:
            yield _seen(
                each,
                f"{stage} is at {callee} and calls {rpc_name(each.path)} of {each.callee} too: they are"
                " repeated and undone as one. Make a step of its own of it",
                "error" if is_command(each.path) else "note",
            )


def _of_state(saga: Saga) -> Iterator[Finding]:
    kind = saga.after.state_class
    for name in _unwritable(kind):
        yield from _at(
            saga,
            saga.stages[0],
            f"gets a {kind.__name__} with the field {name}, which the log cannot keep. Plain data is what it"
            " keeps: lists, dicts, strings, numbers, booleans, None",
        )


def _in_between(saga: Saga) -> Iterator[Finding]:
    for stage in saga.stages:
        is_seen = not stage.is_undo and not stage.is_remote and saga.commits_before(stage)
        if is_seen and not stage.step.pivot and saga.changes(stage) and not saga.hides:
            yield from _at(
                saga,
                stage,
                f"is seen by others before step {saga.commits_before(stage)} is done, and may be undone yet."
                " Leave such rows out with under_way()",
                "note",
            )


def _unwritable(kind: type[Any]) -> Iterator[str]:
    if not dataclasses.is_dataclass(kind):
        return
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError:  # imported for the type checker alone
        return
    for field in dataclasses.fields(kind):
        if not _is_plain(hints[field.name]):
            yield field.name


def _is_plain(hint: Any) -> bool:
    origin = get_origin(hint)
    if hint is Any or origin is Literal:
        return True
    if origin is Annotated:
        return _is_plain(get_args(hint)[0])
    if origin in _HOLDERS:
        return all(map(_is_plain, get_args(hint)))
    if not isinstance(hint, type) or origin is not None:
        return False
    return issubclass(hint, _PLAIN)


def _at(saga: Saga, stage: Stage, text: str, severity: Severity = "error") -> Iterator[Finding]:
    place = saga.place(stage)
    if place is not None:
        yield Finding(severity, *place, f"{stage} {text}")


def _seen(sighting: Sighting, text: str, severity: Severity = "error") -> Finding:
    return Finding(severity, sighting.function.file.path, sighting.line, text)
