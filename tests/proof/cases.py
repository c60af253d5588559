"""Which faults there are to try on a way through a workflow: at every point that an undisturbed run comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.testing.faults import Fault
from tests.proof.columns import (
    CALLEE_AFTER,
    CALLEE_BEFORE,
    COMMAND_TWICE,
    DATABASE,
    EVENT_TWICE,
    FLUSHED,
    FLUSHED_AND_KILLED,
    LOST,
    ORCHESTRATOR,
    RESTARTED,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.proof.scenarios import Scenario

    _Points = Sequence[tuple[str, str]]

_MANY = 1_000_000


@dataclass(frozen=True)
class Case:
    """One fault on one way through a workflow. ``faults`` by process; none: every event comes again at the end."""

    column: str
    name: str
    process: str = ""
    fault: Fault | None = None


def cases(
    scenario: type[Scenario],
    reached: Iterable[tuple[str, str]],
    *,
    home: str,
    by_redis: bool = False,
) -> Iterator[Case]:
    """Every case for the points, ``(process, point)``, that were reached when nothing was in the way.

    ``home`` is the process in which the workflow runs. Where events go by Redis the cases are those that
    this can make a difference to.
    """
    condition = None if scenario.condition is None else scenario.condition[1].point
    points = [
        (process, point)
        for process, point in dict.fromkeys(reached)
        if not (_is_by_chance(point) or point == condition)
    ]
    found = _by_redis(scenario, points, home) if by_redis else _by_calls(scenario, points, home)
    for case in found:
        if case.column in scenario.columns:
            yield case


def _by_calls(scenario: type[Scenario], points: _Points, home: str) -> Iterator[Case]:
    for process, point in points:
        yield _case(_killed(scenario, point), process, Fault(point=point, action="kill"))
        yield _meanwhile(DATABASE, process, point)
        yield from _repeated(scenario, process, point, home)
    yield Case(EVENT_TWICE, "every event is delivered again")


def _by_redis(scenario: type[Scenario], points: _Points, home: str) -> Iterator[Case]:
    """None for a way on which no event goes from process to process."""
    takers = {process for process, point in points if point.startswith("take ")}
    if not takers:
        return
    for process, point in points:
        kind, _, place = point.split(" ")
        if kind != "rpc":  # as at the COMMIT or the step beside it
            yield _meanwhile(FLUSHED, process, point)
            yield _meanwhile(RESTARTED, process, point)
        if kind in ("carry", "take") or (kind == "reaction" and process in takers):
            yield _case(_killed(scenario, point), process, Fault(point=point, action="kill"))
            yield from _repeated(scenario, process, point, home)
        if kind == "take" and place == "before":
            yield _meanwhile(FLUSHED_AND_KILLED, process, point, column=FLUSHED)
    yield Case(EVENT_TWICE, "every event is delivered again")


def _repeated(scenario: type[Scenario], process: str, point: str, home: str) -> Iterator[Case]:
    kind, name, place = point.split(" ")
    if kind in ("reaction", "take") and place == "before":
        yield _case(EVENT_TWICE, process, Fault(point=point, action="twice"))
    if kind == "take" and place == "before":
        yield _case(EVENT_TWICE, process, Fault(point=point, action="again"))
    if kind == "take" and place == "after":
        yield _case(LOST, process, Fault(point=point, action="lose"))
    if kind == "rpc" and not _is_own(scenario, name):
        if place == "before":
            yield _case(COMMAND_TWICE, process, Fault(point=point, action="twice"))
            if process != home:  # nothing is on its way for long inside a process
                yield _case(COMMAND_TWICE, process, Fault(point=point, action="again"))
        elif place == "after":
            yield _case(LOST, process, Fault(point=point, action="lose"))
            yield _case(LOST, process, Fault(point=point, action="lose", times=_MANY))


def _killed(scenario: type[Scenario], point: str) -> str:
    kind, name, place = point.split(" ")
    is_of_workflow = name.startswith(f"{scenario.workflow}.") or name == scenario.workflow
    if kind in ("step", "carry") or is_of_workflow or _is_own(scenario, name):
        return ORCHESTRATOR
    return CALLEE_BEFORE if place == "before" else CALLEE_AFTER


def _is_own(scenario: type[Scenario], name: str) -> bool:
    return name.startswith(scenario.begins)


def _is_by_chance(point: str) -> bool:
    """Tokens' keys that have been forgotten; a process that was not found at once."""
    kind, name, place = point.split(" ")
    return "GetJwks" in name or (kind == "carry" and place == "refused")


def _meanwhile(what: str, process: str, point: str, *, column: str = "") -> Case:
    """It happens while the thread at the point waits."""
    return _case(column or what, process, Fault(point=point, action="pause", meanwhile=what))


def _case(column: str, process: str, fault: Fault) -> Case:
    for_good = " for good" if fault.times > 1 else ""
    what = fault.meanwhile or fault.action
    return Case(column, f"{what}{for_good} in {process} at {fault.point}", process, fault)
