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
    LOST,
    ORCHESTRATOR,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.proof.scenarios import Scenario

_MANY = 1_000_000
# What a run comes to now and then: keys of tokens that have been forgotten.
_BY_CHANCE = "GetJwks"


@dataclass(frozen=True)
class Case:
    """One fault on one way through a workflow. ``faults`` by process; none: every event comes again at the end."""

    column: str
    name: str
    process: str = ""
    fault: Fault | None = None


def cases(
    scenario: type[Scenario], reached: Iterable[tuple[str, str]], *, home: str
) -> Iterator[Case]:
    """Every case for the points, ``(process, point)``, that were reached when nothing was in the way.

    ``home`` is the process in which the workflow runs.
    """
    for case in _all(scenario, reached, home):
        if case.column in scenario.columns:
            yield case


def _all(scenario: type[Scenario], reached: Iterable[tuple[str, str]], home: str) -> Iterator[Case]:
    condition = None if scenario.condition is None else scenario.condition[1].point
    for process, point in dict.fromkeys(reached):
        if _BY_CHANCE in point or point == condition:
            continue
        yield _case(_killed(scenario, point), process, Fault(point=point, action="kill"))
        yield _case(DATABASE, process, Fault(point=point, action="pause"))
        yield from _repeated(scenario, process, point, home)
    yield Case(EVENT_TWICE, "every event is delivered again")


def _repeated(scenario: type[Scenario], process: str, point: str, home: str) -> Iterator[Case]:
    kind, name, place = point.split(" ")
    if kind == "reaction" and place == "before":
        yield _case(EVENT_TWICE, process, Fault(point=point, action="twice"))
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
    if kind == "step" or is_of_workflow or _is_own(scenario, name):
        return ORCHESTRATOR
    return CALLEE_BEFORE if place == "before" else CALLEE_AFTER


def _is_own(scenario: type[Scenario], name: str) -> bool:
    return name.startswith(scenario.begins)


def _case(column: str, process: str, fault: Fault) -> Case:
    for_good = " for good" if fault.times > 1 else ""
    return Case(column, f"{fault.action}{for_good} in {process} at {fault.point}", process, fault)
