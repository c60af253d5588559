"""How much of a bare grpcio server's throughput is left with the whole pipeline around the servicer.

Three servers run in processes of their own: ``bare``, grpcio's server with the servicer and nothing
else; ``whole``, the kernel's with sign-in by a verified token, validation, deadline, metrics, and a log
that writes warnings; and ``lean``, which is ``bare`` on the kernel's worker threads. All have the same
servicer, messages, headers, number of threads and load: rpcs on raw HTTP/2 from this process
(``http2_load``), as many at once as there are threads four times over. Rounds take turns over the
servers, so that whatever else the machine does meets all of them. The ratios are of the medians of the
rounds; the processor time that each server took per call is told beside them, since it does not depend
on who else uses the machine. Where the operating system lets us, servers and load are kept on different
processors.

The bare server runs on ``ThreadPoolExecutor``, as every grpcio server does by its documentation; the
kernel's runs on ``portico.rpc.workers``, which hands a call to a thread for less. What that saves can
be more than all the checks cost: then whole over bare is above 1. Whole over lean is what the checks
alone cost.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING, Any, get_args

from portico.lab import machine
from portico.lab.http2_load import Caller
from portico.lab.server_process import Kind, ServerProcess
from portico.lab.subject import a_request
from portico.lab.v1 import hop_pb2

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 16
ROUND_SECONDS = 0.5
AIM = 0.85

_PATH = "/portico.lab.v1.HopService/Hop"
_MICROSECONDS = 1e6


def main(json_path: Path | None) -> None:
    """Measure, print, and write the numbers to ``json_path`` if there is one."""
    found = measure(rounds=ROUNDS, round_seconds=ROUND_SECONDS)
    print(f"{'server':<8}{'calls/s':>10}{'CPU us/call':>14}   rounds (calls/s)")
    for kind in get_args(Kind):
        numbers = found["servers"][kind]
        rounds = " ".join(f"{rate:.0f}" for rate in numbers["rounds"])
        print(
            f"{kind:<8}{numbers['calls_per_second']:>10.0f}"
            f"{numbers['cpu_us_per_call']:>14.0f}   {rounds}"
        )
    for name, aim in (("bare", f" (aim {AIM})"), ("lean", "")):
        ratio = found["whole_over"][name]
        print(
            f"whole over {name}: {ratio['throughput']:.2f} by throughput{aim},"
            f" {ratio['processor_time']:.2f} by processor time"
        )
    print("lean is bare on the kernel's worker threads: against it only the checks count")
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measure(*, rounds: int, round_seconds: float) -> dict[str, Any]:
    """The numbers, after a short warm-up; takes about ``3 * rounds * round_seconds``."""
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with ExitStack() as stack:
        processes = {kind: stack.enter_context(ServerProcess(kind)) for kind in get_args(Kind)}
        signed_in = (("authorization", processes["whole"].authorization),)
        sides = {
            kind: _Side(process, stack.enter_context(_caller(process.address, signed_in)))
            for kind, process in processes.items()
        }
        apart = machine.keep_on_processor(1)
        try:
            for side in sides.values():
                side.run(round_seconds / 4)
            for side in sides.values():
                side.begin()
            for _ in range(rounds):
                for side in sides.values():
                    side.round(round_seconds)
        finally:
            if mine is not None:
                os.sched_setaffinity(0, mine)
        servers = {kind: side.end() for kind, side in sides.items()}
    return {
        "machine": machine.described(),
        "processors_kept_apart": apart,
        "servers": servers,
        "whole_over": {name: _ratio(servers["whole"], servers[name]) for name in ("bare", "lean")},
    }


def _ratio(of: dict[str, Any], to: dict[str, Any]) -> dict[str, float]:
    return {
        "throughput": of["calls_per_second"] / to["calls_per_second"],
        "processor_time": to["cpu_us_per_call"] / of["cpu_us_per_call"],
    }


class _Side:
    """One of the servers, and what was measured of it."""

    def __init__(self, server: ServerProcess, caller: Caller) -> None:
        self._server = server
        self._caller = caller
        self._rates: list[float] = []
        self._calls = 0
        self._cpu_before = 0.0

    def run(self, seconds: float) -> None:
        self._caller.run(seconds)

    def begin(self) -> None:
        self._cpu_before = self._server.cpu_seconds()

    def round(self, seconds: float) -> None:
        load = self._caller.run(seconds)
        self._rates.append(load.calls_per_second)
        self._calls += load.calls

    def end(self) -> dict[str, Any]:
        cpu = self._server.cpu_seconds() - self._cpu_before
        return {
            "calls_per_second": median(self._rates),
            "cpu_us_per_call": cpu / self._calls * _MICROSECONDS,
            "calls": self._calls,
            "rounds": self._rates,
        }


def _caller(address: str, headers: tuple[tuple[str, str], ...]) -> Caller:
    message = a_request()
    answer = hop_pb2.HopResponse(caller_id=message.caller_id, number=message.number)
    return Caller(
        address,
        _PATH,
        request=message.SerializeToString(),
        response=answer.SerializeToString(),
        headers=headers,
    )
