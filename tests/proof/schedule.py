"""Requests and faults at random, all of it decided by a seed."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING

from portico.testing.faults import Action, Fault
from tests.proof import columns
from tests.proof.scenarios import (
    Cancelling,
    CancellingPaid,
    Placing,
    PlacingRefused,
    Scenario,
    SigningUp,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS: tuple[type[Scenario], ...] = (
    Placing,
    Placing,
    PlacingRefused,
    Cancelling,
    CancellingPaid,
    SigningUp,
)
_MOST_REQUESTS = 5
_MOST_FAULTS = 3
_MOST_AT_ONCE = 3
_ALWAYS: tuple[tuple[Action, str], ...] = (
    ("kill", ""),
    ("kill", ""),
    ("pause", columns.DATABASE),
)
_BY_REDIS: tuple[tuple[Action, str], ...] = (
    ("pause", columns.FLUSHED),
    ("pause", columns.RESTARTED),
    ("pause", columns.FLUSHED_AND_KILLED),
)


class Schedule:
    """Some requests, some of them sent twice at once, and some faults that they may come to.

    The same seed and points give the same schedule; how its threads run is for the machine to say.
    """

    def __init__(self, seed: int, points: Sequence[tuple[str, str]], *, by_redis: bool) -> None:
        """``points`` are pairs of a process and a point in it; ``by_redis`` says that Redis has faults too."""
        random = Random(seed)
        number = random.randint(2, _MOST_REQUESTS)
        self.kinds = [random.choice(_KINDS) for _ in range(number)]
        self.times = [random.choice((1, 1, 2)) for _ in range(number)]
        self.at_once = random.randint(1, _MOST_AT_ONCE)
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        for _ in range(random.randint(1, _MOST_FAULTS)):
            process, point = random.choice(points)
            more = _BY_REDIS if by_redis else ()
            action, meanwhile = random.choice((*_ALWAYS, *more, *_fitting(point)))
            nth = random.randint(1, 2)
            fault = Fault(point=point, action=action, nth=nth, meanwhile=meanwhile)
            self.faults[process].append(fault)

    @property
    def orders(self) -> int:
        """How many orders come of it."""
        return self.kinds.count(Placing)

    def __str__(self) -> str:
        asked = ", ".join(
            f"{times} x {kind.__name__}" for kind, times in zip(self.kinds, self.times, strict=True)
        )
        faults = ", ".join(
            f"{fault.meanwhile or fault.action} in {process} at {fault.point} ({fault.nth})"
            for process, ordered in self.faults.items()
            for fault in ordered
        )
        return f"{asked}, {self.at_once} at a time; {faults}"


def _fitting(point: str) -> tuple[tuple[Action, str], ...]:
    """What else can happen at a point of this kind."""
    kind, _, place = point.split(" ")
    if kind == "rpc":
        return (("lose", ""), ("twice", "")) if place == "before" else (("lose", ""),)
    return (("twice", ""),) if kind == "reaction" and place == "before" else ()
