"""Faults on order: what shall happen to a process when it comes to a certain point.

A point has a name such as ``step orders.place_order.stock before``; :mod:`portico.testing.instrument` says
which there are. Orders come from outside, as JSON, so that the product needs no hooks.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from portico import errors
from portico.context import Call, current, entered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Result = TypeVar("Result")

Action = Literal["kill", "lose", "refuse", "pause", "twice", "again"]
"""What can happen.

``kill``: the process ends as by ``kill -9``. ``lose``: UNAVAILABLE, whatever was done before. ``refuse``:
FAILED_PRECONDITION with ``REFUSED``. ``pause``: nothing goes on in this thread until it is told to.
``twice``: the work is done a second time at once, and its second answer counts. ``again``: it is done once
more whenever :meth:`Faults.repeat` says so.
"""

_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``action`` from the ``nth`` time that ``point`` is reached, ``times`` times; counted from its order."""

    point: str
    action: Action
    nth: int = 1
    times: int = 1
    meanwhile: str = ""
    """What whoever ordered a ``pause`` wants to do in it; reported with it."""

    def written(self) -> dict[str, Any]:
        """As JSON has it; ``Fault(**written)`` is the same again."""
        return asdict(self)


class Faults:
    """The faults that are ordered in this process. Any thread may come to a point."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """``tell`` reports what happens: ``{"hit": point}``, ``{"fired": point, "action": …, "meanwhile": …}``.

        It must have arrived when it returns: the next moment the process may be gone.
        """
        self._tell = tell
        self._lock = threading.Lock()
        self._ordered: list[Fault] = []
        self._reached: Counter[str] = Counter()
        self._recording = False
        self._go_on = threading.Event()
        self._kept: list[tuple[Call, Callable[[], Any]]] = []

    def order(self, faults: Iterable[Fault], *, record: bool = False) -> None:
        """These and no others from now on; ``record`` reports every point that is reached."""
        with self._lock:
            self._ordered = list(faults)
            self._reached.clear()
            self._recording = record
            self._kept.clear()

    def go_on(self) -> None:
        """Let what is paused go on, also what was paused by an order before the last one."""
        with self._lock:
            paused, self._go_on = self._go_on, threading.Event()
        paused.set()

    def repeat(self) -> list[str]:
        """Do again what was kept for it; how each ended: ``OK``, or the reason or code of its refusal."""
        with self._lock:
            kept = list(self._kept)
        return [_outcome(call, work) for call, work in kept]

    def around(self, name: str, work: Callable[[], Result]) -> Result:
        """Do ``work`` with a point before it, and one after it: ``refused`` when it raises, else ``after``."""
        action = self.reach(f"{name} before")
        if action == "again":
            above = current()
            call = Call(None, above.origin, above.method, above.module, above.caller, None, ())
            call.step = above.step
            with self._lock:
                self._kept.append((call, work))
        try:
            result = work()
            if action == "twice":
                result = work()
        except Exception:
            self.reach(f"{name} refused")
            raise
        self.reach(f"{name} after")
        return result

    def reach(self, point: str) -> Action | None:
        """Come to a point; the action that the caller has to see to."""
        with self._lock:
            if not (self._ordered or self._recording):
                return None
            self._reached[point] += 1
            recording, fault = self._recording, self._due(point)
            going_on = self._go_on
        if recording:
            self._tell({"hit": point})
        if fault is None:
            return None
        self._tell({"fired": point, "action": fault.action, "meanwhile": fault.meanwhile})
        return _happen(fault, going_on)

    def _due(self, point: str) -> Fault | None:
        count = self._reached[point]
        for fault in self._ordered:
            if fault.point == point and fault.nth <= count < fault.nth + fault.times:
                return fault
        return None


def _happen(fault: Fault, going_on: threading.Event) -> Action:
    match fault.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "lose":
            raise errors.unavailable("", "the answer was lost, for the sake of the proof")
        case "refuse":
            raise errors.failed_precondition("REFUSED", "refused, for the sake of the proof")
        case "pause":
            going_on.wait(_LONGEST_PAUSE_SECONDS)
    return fault.action


def _outcome(call: Call, work: Callable[[], Any]) -> str:
    try:
        with entered(call):
            work()
    except errors.StatusError as refusal:
        return refusal.reason or refusal.code().name
    return "OK"
