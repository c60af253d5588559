"""What a server does with four times the calls that it can serve.

A server in a process of its own, whose calls cost a known amount (``work_server``), is measured closed
loop first: that is its peak. Then calls come at four times that rate, by the clock, for some seconds
(``open_load``). Of two servers: the kernel's as it is, which refuses calls that would wait too long, and
one that lets as many wait and refuses only by their number. Goodput counts what was answered within the
callers' patience of two seconds; times are from when a call was due.
"""

from __future__ import annotations

import json
import math
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Self

from portico.lab import machine, work_server
from portico.lab.http2_load import Caller
from portico.lab.lab_process import LabProcess
from portico.lab.open_load import OpenLoad
from portico.lab.server_process import THREADS
from portico.lab.subject import a_request
from portico.lab.v1 import hop_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from portico.lab.open_load import Answers

PEAK_SECONDS = 3.0
OVERLOAD_SECONDS = 8.0
TIMES_CAPACITY = 4
CALLERS_PATIENCE_SECONDS = 2
AIM_GOODPUT = 0.8
AIM_P99_MS = 500

_PATH = "/portico.lab.v1.HopService/Hop"
_MEBIBYTE = 1024**2


def main(json_path: Path | None) -> None:
    """Measure, print, and write the numbers to ``json_path`` if there is one."""
    found = measure()
    cost = found["a_call"]
    print(
        f"{THREADS} threads; a call waits {cost['wait_ms']} ms and computes {cost['compute_ms']} ms;"
        f" load is {TIMES_CAPACITY} times the peak, open loop, for {found['seconds']} s"
    )
    print(
        f"{'refuses':<12}{'peak/s':>8}{'offered/s':>11}{'goodput/s':>11}{'of peak':>9}"
        f"{'p50 ms':>8}{'p99 ms':>8}{'refused':>9}{'in ms':>7}{'lost':>6}{'MiB before, after':>19}"
    )
    for name, told in found["servers"].items():
        print(
            f"{name:<12}{told['peak']:>8.0f}{told['offered']:>11.0f}{told['goodput']:>11.0f}"
            f"{told['goodput_of_peak']:>9.2f}{told['p50_ms']:>8.0f}{told['p99_ms']:>8.0f}"
            f"{told['refused']:>9}{told['refused_p50_ms']:>7.0f}{told['lost']:>6}"
            f"{told['resident_mib'][0]:>12.0f}, {told['resident_mib'][1]:.0f}"
        )
    print(f"aims, by wait: goodput {AIM_GOODPUT} of peak, p99 of what it answers {AIM_P99_MS} ms")
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measure() -> dict[str, Any]:
    """The numbers; takes about half a minute."""
    return {
        "machine": machine.described(),
        "a_call": {
            "wait_ms": work_server.WAIT_SECONDS * 1000,
            "compute_ms": work_server.COMPUTE_SECONDS * 1000,
        },
        "seconds": OVERLOAD_SECONDS,
        "servers": {rule: _measured(rule) for rule in work_server.RULES},
    }


def _measured(rule: str) -> dict[str, Any]:
    with _Server(rule) as server:
        peak = _peak(server)
        before = server.resident_mib()
        offered = peak * TIMES_CAPACITY
        with OpenLoad(
            server.address,
            _PATH,
            request=a_request().SerializeToString(),
            headers=server.headers,
            timeout_seconds=CALLERS_PATIENCE_SECONDS,
        ) as load:
            answers = load.run(calls_per_second=offered, seconds=OVERLOAD_SECONDS)
        after = server.resident_mib()
    return _told(answers, peak, offered) | {"resident_mib": [before, after]}


def _told(answers: Answers, peak: float, offered: float) -> dict[str, Any]:
    in_time = sum(took <= CALLERS_PATIENCE_SECONDS for took in answers.answered)
    goodput = in_time / answers.seconds
    return {
        "peak": peak,
        "offered": offered,
        "goodput": goodput,
        "goodput_of_peak": goodput / peak,
        "p50_ms": _quantile(answers.answered, 50),
        "p99_ms": _quantile(answers.answered, 99),
        "refused": len(answers.refused),
        "refused_p50_ms": _quantile(answers.refused, 50),
        "lost": answers.lost,
    }


class _Server:
    """A server whose processor the load keeps off, for the block."""

    def __init__(self, rule: str) -> None:
        self._process = LabProcess(work_server.__name__, rule)

    def __enter__(self) -> Self:
        self._process.__enter__()
        told = self._process.told
        self.address: str = told["address"]
        self.headers = (("authorization", told["authorization"]),)
        self._mine = machine.processors()
        machine.keep_on_processor(1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        machine.keep_on(self._mine)
        self._process.__exit__(kind, value, trace)

    def resident_mib(self) -> float:
        """Memory that it holds."""
        return float(self._process.ask("memory")) / _MEBIBYTE


def _peak(server: _Server) -> float:
    """Calls per second with twice as many under way as there are threads, over four connections."""
    message = a_request()
    answer = hop_pb2.HopResponse(caller_id=message.caller_id, number=message.number)
    with Caller(
        server.address,
        _PATH,
        request=message.SerializeToString(),
        response=answer.SerializeToString(),
        headers=server.headers,
        in_flight=THREADS // 2,
    ) as caller:
        caller.run(PEAK_SECONDS / 4)
        return caller.run(PEAK_SECONDS).calls_per_second


def _quantile(seconds: Sequence[float], percent: int) -> float:
    if not seconds:
        return math.nan
    if len(seconds) == 1:
        return seconds[0] * 1000
    return quantiles(seconds, n=100)[percent - 1] * 1000
