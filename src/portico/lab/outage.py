"""What callers notice when the process they call is killed, and when it comes back.

A callee in a process of its own is called by the clock, ``CALLS_PER_SECOND``. It is killed with SIGKILL;
its port refuses connections for ``DEAD_SECONDS``. Then a stand-in takes the port and answers everything
with UNAVAILABLE for ``AWAY_SECONDS``: it counts the attempts that get through, which a dead process
cannot. Then the callee is started again. Told are: how long calls took while the circuit was open,
attempts at the callee for each call that was made (the amplification), and when calls succeeded again.
"""

from __future__ import annotations

import json
import math
import threading
import time
from statistics import quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from portico.context import entered, root
from portico.lab import callee, machine
from portico.lab.hopping import peer_at, stub_of
from portico.lab.lab_process import LabProcess
from portico.lab.subject import USER, a_request
from portico.resilience.settings import RemoteSettings
from portico.rpc.guard import CIRCUIT_OPEN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CALLS_PER_SECOND = 100
WELL_SECONDS = 2.0
DEAD_SECONDS = 4.0
AWAY_SECONDS = 15.0
BACK_SECONDS = 20.0
TIMEOUT_SECONDS = 1.0
AIM_P99_MS = 50
AIM_BACK_SECONDS = 15
AIM_AMPLIFICATION = 1.2

_CALLEE = callee.__name__
_STEADY_CALLS = 50


class Called(NamedTuple):
    """One call: when it began, how long it took, how it ended."""

    at: float
    seconds: float
    outcome: str


def main(json_path: Path | None) -> None:
    """Measure, print, and write the numbers to ``json_path`` if there is one."""
    found = measure()
    print(f"{CALLS_PER_SECOND} calls a second; the callee is killed, away, and started again")
    print(f"{'phase':<8}{'seconds':>9}{'calls':>7}{'p50 ms':>8}{'p99 ms':>8}   ended as")
    for name, told in found["phases"].items():
        ended = ", ".join(f"{count} {outcome}" for outcome, count in told["ended"].items())
        print(
            f"{name:<8}{told['seconds']:>9.1f}{told['calls']:>7}"
            f"{told['p50_ms']:>8.2f}{told['p99_ms']:>8.2f}   {ended}"
        )
    print(
        f"once the circuit was open: p99 {found['open_p99_ms']:.2f} ms"
        f" of {found['open_calls']} calls (aim {AIM_P99_MS})"
    )
    print(
        f"attempts at the callee while away: {found['attempts']} for {found['calls_away']} calls, of"
        f" which {found['repeats']} repeats: amplification {found['amplification']:.2f}"
        f" (aim below {AIM_AMPLIFICATION})"
    )
    bare = found["without_breaker"]
    print(
        f"without a breaker: {bare['attempts']} for {bare['calls']} calls, of which"
        f" {bare['repeats']} repeats: amplification {bare['amplification']:.2f}"
    )
    print(
        f"calls succeed again {found['back_after_seconds']:.1f} s after the restart"
        f" (aim {AIM_BACK_SECONDS})"
    )
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measure() -> dict[str, Any]:
    """The numbers; takes about a minute."""
    phases: dict[str, list[Called]] = {}
    with LabProcess(_CALLEE, "well", "0") as first:
        port = str(first.told)
        peer = peer_at(f"127.0.0.1:{port}")
        calling = _Calling(stub_of(peer))
        calling.start()
        try:
            phases["well"] = calling.during(WELL_SECONDS)
            first.kill()
            phases["dead"] = calling.during(DEAD_SECONDS)
            with LabProcess(_CALLEE, "away", port) as stand_in:
                phases["away"] = calling.during(AWAY_SECONDS)
                counts = stand_in.ask("counts")
            with LabProcess(_CALLEE, "well", port):
                back_at = time.monotonic()
                phases["back"] = calling.during(BACK_SECONDS)
                calling.stop()
        finally:
            calling.stop()
            peer.close()
    return _told(phases, counts, back_at) | {"without_breaker": _without_breaker()}


def _without_breaker() -> dict[str, Any]:
    """Attempts at a callee that is away when no circuit opens: what the throttle of retries does alone."""
    with LabProcess(_CALLEE, "away", "0") as stand_in:
        peer = peer_at(f"127.0.0.1:{stand_in.told}", settings=RemoteSettings(breaker=False))
        calling = _Calling(stub_of(peer))
        calling.start()
        try:
            time.sleep(WELL_SECONDS)
        finally:
            calling.stop()
            peer.close()
        counts: dict[str, int] = stand_in.ask("counts")
    calls = counts["attempts"] - counts["repeats"]
    return counts | {"calls": calls, "amplification": counts["attempts"] / calls}


def _told(
    phases: dict[str, list[Called]], counts: dict[str, int], back_at: float
) -> dict[str, Any]:
    refused = [call for call in phases["dead"] + phases["away"] if CIRCUIT_OPEN in call.outcome]
    opened_at = min((call.at for call in refused), default=math.inf)
    outage = [call for call in phases["dead"] + phases["away"] if call.at >= opened_at]
    away = len(phases["away"])
    return {
        "machine": machine.described(),
        "phases": {name: _phase(calls) for name, calls in phases.items()},
        "open_calls": len(outage),
        "open_p99_ms": _quantile([call.seconds for call in outage], 99),
        "calls_away": away,
        "attempts": counts["attempts"],
        "repeats": counts["repeats"],
        "amplification": counts["attempts"] / away,
        "back_after_seconds": _steady_since(phases["back"]) - back_at,
    }


def _phase(calls: Sequence[Called]) -> dict[str, Any]:
    ended: dict[str, int] = {}
    for call in calls:
        ended[call.outcome] = ended.get(call.outcome, 0) + 1
    seconds = [call.seconds for call in calls]
    return {
        "seconds": calls[-1].at - calls[0].at,
        "calls": len(calls),
        "p50_ms": _quantile(seconds, 50),
        "p99_ms": _quantile(seconds, 99),
        "ended": ended,
    }


class _Calling:
    """Calls by the clock from a few threads, so that one slow call holds up none of the others."""

    _THREADS = 8

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self._called: list[Called] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._next = time.monotonic()
        self._threads = [
            threading.Thread(target=self._call_on, daemon=True) for _ in range(self._THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def during(self, seconds: float) -> list[Called]:
        """The calls that ended in the next so many seconds."""
        with self._lock:
            self._called = []
        time.sleep(seconds)
        with self._lock:
            return sorted(self._called)

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _call_on(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                due, self._next = self._next, self._next + 1 / CALLS_PER_SECOND
            time.sleep(max(due - time.monotonic(), 0))
            called = self._call()
            with self._lock:
                self._called.append(called)

    def _call(self) -> Called:
        began, outcome = time.monotonic(), "OK"
        with entered(root(identity=USER, deadline=began + TIMEOUT_SECONDS)):
            try:
                self._stub.Hop(a_request())
            except grpc.RpcError as failure:
                reason = getattr(failure, "reason", "")
                outcome = " ".join(filter(None, (failure.code().name, reason)))
        return Called(began, time.monotonic() - began, outcome)


def _steady_since(calls: Sequence[Called]) -> float:
    """When the calls began after which none failed; without enough of them, never."""
    failed = [number for number, call in enumerate(calls) if call.outcome != "OK"]
    first = failed[-1] + 1 if failed else 0
    return calls[first].at if len(calls) - first >= _STEADY_CALLS else math.inf


def _quantile(seconds: Sequence[float], percent: int) -> float:
    if len(seconds) < 2:  # noqa: PLR2004  # nothing between one and itself
        return math.nan
    return quantiles(seconds, n=100)[percent - 1] * 1000
