"""Trying one case: the fault, the recovery, and what must hold afterwards."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from tests.proof import laws
from tests.proof.scenarios import placed_orders

if TYPE_CHECKING:
    from types import TracebackType

    from portico.testing.faults import Fault
    from tests.journeys.shopper import Answer
    from tests.proof.cases import Case
    from tests.proof.scenarios import Scenario
    from tests.proof.schedule import Schedule
    from tests.proof.stand import Stand

PATIENCE_SECONDS = 20.0
_TURN_SECONDS = 0.02


class Trials:
    """Tries cases on one stand, one after the other. A context manager."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._stack = ExitStack()
        self._fired: set[str] = set()
        self._hits: list[tuple[str, str]] = []
        self._repeated: list[str] | None = None

    def __enter__(self) -> Self:
        self._asking = self._stack.enter_context(ThreadPoolExecutor(1))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def points(self, kind: type[Scenario]) -> list[tuple[str, str]]:
        """The points that a run comes to when nothing is in its way, with their processes, in order."""
        scenario = self._prepared(kind)
        self._hits.clear()
        self._stand.order({}, record=True)
        scenario.ask()
        broken = self._rest()
        self._stand.order({})
        self._attend(0.0)
        if broken:
            raise AssertionError(f"an undisturbed {kind.__name__} breaks laws: {broken}")
        return list(self._hits)

    @property
    def is_by_redis(self) -> bool:
        """Whether events go by Redis."""
        return self._stand.is_by_redis

    def home(self, kind: type[Scenario]) -> str:
        """The process in which its workflow runs."""
        return self._stand.processes.home(kind.workflow.partition(".")[0])

    def run(self, kind: type[Scenario], case: Case) -> list[str]:
        """Everything that is wrong with the case; nothing when it is as it should be."""
        scenario = self._prepared(kind)
        traces, count = laws.traces(self._stand.outside), scenario.count()
        since = self._now()
        first = self._disturbed(scenario, case)
        found = self._rest()
        if scenario.waits_for_answer and (first is None or not _is_final(scenario, first)):
            found = []
        if case.fault is None:
            found += self._delivered_again(since)
        elif case.fault.action == "again":
            found += self._come_late(case)
        found += self._answers(scenario, first)
        found += self._rest()
        found += scenario.complaints(count)
        if scenario.refusal and (left := _difference(traces, laws.traces(self._stand.outside))):
            found.append(f"a refused request has left something: {left}")
        self._stand.conditions = {}
        if case.process and not self._fired:
            found.append("the fault never happened")
        return list(dict.fromkeys(found))

    def run_schedule(self, schedule: Schedule) -> list[str]:
        """Everything that is wrong after requests that meet faults at random, several at a time."""
        scenarios = [self._prepared(kind) for kind in schedule.kinds]
        placed = placed_orders(self._stand.outside)
        self._stand.order(schedule.faults)
        with ThreadPoolExecutor(schedule.at_once) as asking:
            asked = [
                asking.submit(_answer, scenario)
                for scenario, times in zip(scenarios, schedule.times, strict=True)
                for _ in range(times)
            ]
            while not all(each.done() for each in asked):
                self._attend(_TURN_SECONDS)
        self._disarm()
        found = self._rest()
        answers = iter(asked)
        for scenario, times in zip(scenarios, schedule.times, strict=True):
            for first in [next(answers).result() for _ in range(times)]:
                found += self._answers(scenario, first)
        found += self._rest()
        more = placed_orders(self._stand.outside) - placed
        if more != schedule.orders:
            found.append(f"{schedule.orders} requests placed {more} orders")
        return list(dict.fromkeys(found))

    def _prepared(self, kind: type[Scenario]) -> Scenario:
        self._stand.conditions = {}
        self._stand.order({})
        scenario = kind(self._stand)
        scenario.prepare()
        if found := self._rest():
            raise AssertionError(f"the stage of {kind.__name__} breaks laws: {found}")
        scenario.arrange()
        if kind.condition is not None:
            module, fault = kind.condition
            self._stand.conditions = {self._stand.processes.home(module): [fault]}
        self._fired.clear()
        self._repeated = None
        self._stand.order({})
        return scenario

    def _disturbed(self, scenario: Scenario, case: Case) -> Answer | None:
        """The answer to a request that meets the fault; None when there was none."""
        faults: dict[str, list[Fault]] = {}
        if case.fault is not None:
            faults[case.process] = [case.fault]
        self._stand.order(faults)
        until = time.monotonic() + PATIENCE_SECONDS
        first = self._asked(scenario)
        # A process that has just been started may not have been found yet: then the request never came so far.
        while case.process and not self._fired and time.monotonic() < until:
            self._attend(_TURN_SECONDS)
            if not (self._fired or (first is not None and _is_final(scenario, first))):
                first = self._asked(scenario)
        if case.fault is None or case.fault.action != "again":
            self._disarm()
        return first

    def _asked(self, scenario: Scenario) -> Answer | None:
        """The answer to a request, while processes are attended to."""
        asked = self._asking.submit(_answer, scenario)
        until = time.monotonic() + 2 * PATIENCE_SECONDS
        while not asked.done() and time.monotonic() < until:
            self._attend(_TURN_SECONDS)
        self._attend(0.0)
        return asked.result(timeout=PATIENCE_SECONDS)

    def _disarm(self) -> None:
        """No fault happens any more, and those that have are dealt with."""
        self._stand.order({})
        self._attend(0.0)

    def _attend(self, seconds: float) -> None:
        """Deal with what processes report: do what one is paused for, revive one that is gone."""
        for name, report in self._stand.reports(seconds=seconds):
            if "hit" in report:
                self._hits.append((name, report["hit"]))
            elif "repeated" in report:
                self._repeated = report["repeated"]
            elif "ended" in report:
                self._stand.revive()
            elif not self._is_condition(name, report):
                self._fired.add(report["fired"])
                if report["action"] == "pause":
                    self._stand.befall(report["meanwhile"], name)
                    self._stand.processes.named(name).go_on()

    def _is_condition(self, name: str, report: dict[str, Any]) -> bool:
        return any(fault.point == report["fired"] for fault in self._stand.conditions.get(name, ()))

    def _rest(self) -> list[str]:
        return laws.await_rest(
            self._stand.outside, pids=self._living, patience_seconds=PATIENCE_SECONDS
        )

    def _living(self) -> list[int]:
        self._attend(0.0)
        return self._stand.processes.pids

    def _delivered_again(self, since: Any) -> list[str]:
        before = laws.effects(self._stand.outside)
        laws.deliver_again(self._stand.outside, since=since)
        found = self._rest()
        after = laws.effects(self._stand.outside)
        if after != before:
            found.append(f"events that came again had effects: {_difference(before, after)}")
        return found

    def _come_late(self, case: Case) -> list[str]:
        """The command comes once more, long after: it is answered as before, or refused."""
        before = laws.effects(self._stand.outside)
        self._stand.processes.named(case.process).repeat()
        self._attend(_TURN_SECONDS)
        found = [] if self._repeated else ["the command that came late was not answered"]
        found += self._rest()
        after = laws.effects(self._stand.outside)
        if after != before:
            found.append(f"a command that came late had effects: {_difference(before, after)}")
        return found

    def _answers(self, scenario: Scenario, first: Answer | None) -> list[str]:
        """Whether the same request gets one and the same answer, however often it comes."""
        answers = [self._patiently(scenario) for _ in range(2)]
        essences = [scenario.essence(each) for each in answers]
        found = []
        if essences[0] != essences[1]:
            found.append(f"the same request was answered {essences[0]}, then {essences[1]}")
        if first is not None and _is_final(scenario, first):
            essence = scenario.essence(first)
            if essence != essences[0]:
                found.append(f"a request was answered {essence}, then {essences[0]}")
        wrong = [each for each in answers if not _is_final(scenario, each)]
        return found + [f"at rest it is answered {each.status} {each.json}" for each in wrong]

    def _patiently(self, scenario: Scenario) -> Answer:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = _answer(scenario)
            if answer is not None and _is_final(scenario, answer):
                return answer
            if time.monotonic() > until and answer is not None:
                return answer
            if time.monotonic() > until + PATIENCE_SECONDS:
                raise AssertionError("the front does not answer")
            self._living()
            time.sleep(_TURN_SECONDS)

    def _now(self) -> Any:
        return self._stand.outside.execute("SELECT now()").fetchall()[0][0]


def _answer(scenario: Scenario) -> Answer | None:
    try:
        return scenario.ask()
    except (OSError, http.client.HTTPException):
        return None


def _is_final(scenario: Scenario, answer: Answer) -> bool:
    """A success, or the refusal that was to be expected: not that it could not be done now."""
    if scenario.refusal:
        return answer.reason == scenario.refusal
    return answer.status in (200, 201)


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
