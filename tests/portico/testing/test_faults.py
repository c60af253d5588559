from __future__ import annotations

import threading
from typing import Any

import pytest

from portico.context import entered, root
from portico.errors import StatusError
from portico.testing.faults import Action, Fault, Faults


class Told(list[dict[str, Any]]):
    """What was reported, in order."""

    def of(self, kind: str) -> list[Any]:
        return [report[kind] for report in self if kind in report]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def faults(told: Told) -> Faults:
    return Faults(told.append)


def fault(action: Action, point: str = "rpc Shop/Buy before", **changed: Any) -> Fault:
    return Fault(point=point, action=action, **changed)


def bought(faults: Faults) -> list[str]:
    done: list[str] = []
    faults.around("rpc Shop/Buy", lambda: done.append("bought"))
    return done


def test_without_an_order_nothing_happens_and_nothing_is_told(faults: Faults, told: Told) -> None:
    assert bought(faults) == ["bought"]
    assert told == []


def test_points_are_recorded_in_order(faults: Faults, told: Told) -> None:
    faults.order([], record=True)
    bought(faults)
    with pytest.raises(ZeroDivisionError):
        faults.around("rpc Shop/Pay", lambda: 1 / 0)

    assert told.of("hit") == [
        "rpc Shop/Buy before",
        "rpc Shop/Buy after",
        "rpc Shop/Pay before",
        "rpc Shop/Pay refused",
    ]


def test_a_fault_happens_at_its_turn_and_as_often_as_ordered(faults: Faults, told: Told) -> None:
    faults.order([fault("lose", "rpc Shop/Buy after", nth=2, times=2)])
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(str(bought(faults)))
        except StatusError as failure:
            outcomes.append(failure.code().name)

    assert outcomes == ["['bought']", "UNAVAILABLE", "UNAVAILABLE", "['bought']"]
    assert told.of("fired") == ["rpc Shop/Buy after"] * 2


def test_what_is_refused_is_not_done(faults: Faults) -> None:
    done: list[str] = []
    faults.order([fault("refuse")])

    with pytest.raises(StatusError, match="refused"):
        faults.around("rpc Shop/Buy", lambda: done.append("bought"))
    assert done == []


def test_work_is_done_twice(faults: Faults) -> None:
    faults.order([fault("twice")])

    assert bought(faults) == ["bought", "bought"]


def test_work_is_done_again_when_that_is_asked_for(faults: Faults) -> None:
    faults.order([fault("again")])
    with entered(root(module="shop")):
        done = bought(faults)

    assert faults.repeat() == faults.repeat() == ["OK"]
    assert done == ["bought"] * 3
    faults.order([])
    assert faults.repeat() == []


@pytest.mark.parametrize("has_new_order", [False, True])
def test_what_is_paused_goes_on_when_told_to(
    faults: Faults, told: Told, has_new_order: bool
) -> None:
    faults.order([fault("pause", meanwhile="the lights go out")])
    done: list[str] = []
    thread = threading.Thread(target=lambda: done.extend(bought(faults)))
    thread.start()
    while not told.of("fired"):
        thread.join(0.01)
    assert done == []
    assert told.of("meanwhile") == ["the lights go out"]

    if has_new_order:
        faults.order([])
    faults.go_on()
    thread.join(5)

    assert done == ["bought"]


def test_a_new_order_takes_the_place_of_the_old_one(faults: Faults) -> None:
    faults.order([fault("refuse")])
    faults.order([fault("refuse", nth=2)])

    assert bought(faults) == ["bought"]


def test_a_fault_is_the_same_after_it_was_written_down() -> None:
    ordered = fault("kill", nth=3, times=4)

    assert Fault(**ordered.written()) == ordered
