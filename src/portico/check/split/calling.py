"""What a move makes of single calls: refused in a transaction, refused outside a step, answers of several moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.check.split.entries import stages
from portico.check.split.finding import Finding, is_command, rpc_name
from portico.check.split.mentions import Call, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from portico.check.split.code import Code
    from portico.check.split.entries import Entry
    from portico.check.split.finding import Severity
    from portico.check.split.move import Move
    from portico.check.split.walk import Sighting
    from portico.workflow.plan import Plan

_MOST_ENTRIES = 3


def call_findings(sightings: Sequence[Sighting], move: Move) -> Iterator[Finding]:
    """What becomes of the calls between modules that are parted."""
    calls = [
        each for each in sightings if each.what is Call and move.parts(each.module, each.callee)
    ]
    for group in _by_place(each for each in calls if each.transaction):
        yield _in_transaction(group)
    for group in _by_place(each for each in calls if _is_outside_step(each)):
        yield _outside_step(group)
    for group in _by_place(each for each in calls if each.reading and not each.transaction):
        yield _while_reading(group)
    yield from _several_moments(calls)


def run_findings(
    sightings: Iterable[Sighting], plans: Sequence[tuple[str, Plan[object]]], code: Code
) -> Iterator[Finding]:
    """Workflows that are started inside a transaction, and become sagas by the move."""
    inside = (each for each in sightings if each.what is Run and each.transaction)
    for group in _by_place(inside):
        first = group[0]
        own = [plan for module, plan in plans if module == first.module]
        meant = [plan for plan in own if _is_defined_around(first, plan, code)] or own
        if meant:
            names = " or ".join(sorted(plan.workflow.name for plan in meant))
            yield _found(
                group,
                f"{names} is started in {first.transaction}: a saga cannot join it, and is refused."
                " Start it outside of any unit of work",
            )


def _in_transaction(group: Sequence[Sighting]) -> Finding:
    first = group[0]
    return _found(
        group,
        f"{_asked(first)} is called in {first.transaction}: refused as CALL_INSIDE_TRANSACTION once"
        f" the two are apart. {_remedy(first)}",
    )


def _remedy(call: Sighting) -> str:
    stage = call.entry.stage
    if call.entry.transaction and stage is None:
        return "Mark the reaction in_transaction=False, and call it in a step of a workflow"
    if call.entry.transaction and stage is not None:
        if call.module == stage.module:
            return "Give it a step of its own that says at= with the stub's class"
        return f"Ask {call.callee} in a step of {stage.plan.workflow.name} before this one"
    if is_command(call.path):
        return "Make it a step of a workflow"
    return "Ask before the unit of work is opened"


def _is_outside_step(call: Sighting) -> bool:
    stage = call.entry.stage
    return is_command(call.path) and (stage is None or stage.module != call.module)


def _outside_step(group: Sequence[Sighting]) -> Finding:
    return _found(
        group,
        f"the command {_asked(group[0])} is called outside a workflow step of {group[0].module}: refused as"
        " COMMAND_OUTSIDE_WORKFLOW wherever they are, for nobody could undo it. Make it a step",
    )


def _while_reading(group: Sequence[Sighting]) -> Finding:
    return _found(
        group,
        f"{_asked(group[0])} is asked while a connection is held for reading: it is held for as long as the"
        " network takes, and what is read before and after may not fit the answer. Ask before or afterwards",
        severity="note",
    )


def _several_moments(calls: Iterable[Sighting]) -> Iterator[Finding]:
    """Queries of one module that one request makes one after the other."""
    asked: dict[tuple[Entry, str], list[Sighting]] = {}
    for call in calls:
        if call.entry.stage is None and not is_command(call.path):
            asked.setdefault((call.entry, call.callee), []).append(call)
    again = {
        each.place: each
        for group in asked.values()
        for number, each in enumerate(_distinct(group))
        if number or each.loop
    }
    for call in again.values():
        how = "once for each turn of a loop" if call.loop else "after another query of it"
        yield _found(
            [call],
            f"{_asked(call)} may be asked {how}: the answers are of different moments, and each is a hop."
            " Ask once, for all",
            severity="note",
        )


def _distinct(group: Sequence[Sighting]) -> list[Sighting]:
    return list({each.place: each for each in group}.values())


def _is_defined_around(run: Sighting, plan: Plan[object], code: Code) -> bool:
    of_plan = stages(run.module, plan)
    owners = {each.owner for stage in of_plan for each in stage.functions(code)}
    return run.function.owner in owners


def _by_place(calls: Iterable[Sighting]) -> Iterator[list[Sighting]]:
    groups: dict[tuple[tuple[str, int], str], list[Sighting]] = {}
    for call in calls:
        groups.setdefault((call.place, call.path), []).append(call)
    yield from groups.values()


def _asked(call: Sighting) -> str:
    return f"{rpc_name(call.path)} of {call.callee}"


def _found(group: Sequence[Sighting], text: str, *, severity: Severity = "error") -> Finding:
    first = group[0]
    return Finding(severity, first.function.file.path, first.line, f"{text} ({_reached(group)})")


def _reached(group: Iterable[Sighting]) -> str:
    names = list(dict.fromkeys(f"{each.entry.name}" for each in group))
    more = len(names) - _MOST_ENTRIES
    return ", ".join(names[:_MOST_ENTRIES]) + (f" and {more} more" if more > 0 else "")
