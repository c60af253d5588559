"""What one call costs four ways: bare method, local share, local copy, loopback TCP.

All four call the same servicer with the same request, from inside another call, as a servicer calls
the next: identity, request id and deadline are there. The local calls and the call over TCP pass the
whole pipeline (sign-in, validation, deadline, metrics, error translation, a log that writes
warnings); ``bare`` calls the servicer's method and nothing else. The TCP server is the kernel's, in a
process of its own, and verifies the caller's token, which it has seen before.

Rounds take turns over the four ways, so that whatever else the machine does meets all of them. A call
inside the process is shorter than reading the clock: blocks of such calls are timed, and the median
and the 99th percentile are those of the blocks' means. Calls over TCP are timed one by one, and both
figures are of single calls: so the two columns ``p99`` are not the same thing, and are told apart.
"""

from __future__ import annotations

import json
import time
from statistics import median, quantiles
from timeit import Timer
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from portico.context import entered, root
from portico.lab import machine
from portico.lab.server_process import ServerProcess
from portico.lab.subject import MODULE, USER, Hop, a_request, everything_on
from portico.lab.v1 import hop_pb2_grpc
from portico.rpc.local import LocalChannel
from portico.rpc.registry import Registry
from portico.rpc.remote import RemoteChannel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROUNDS = 100
CALLS_PER_BLOCK = 1000
TCP_CALLS_PER_ROUND = 10
AIM_SHARE_US = 1.5
AIM_COPY_US = 4.0
AIM_TCP_OVER_COPY = 100

_CALLER = "caller"
_DEADLINE_SECONDS = 600.0
_MICROSECONDS = 1e6
_WITH_GC = "__import__('gc').enable()"  # which timeit would switch off


class Way(NamedTuple):
    """One way to make the call: ``block`` calls are timed together, ``blocks`` times in a round."""

    timer: Timer
    block: int
    blocks: int


def main(json_path: Path | None) -> None:
    """Measure, print, and write the numbers to ``json_path`` if there is one."""
    found = measure(rounds=ROUNDS)
    print(f"{'way':<14}{'median us':>11}{'p99 us':>9}   p99 over")
    for name, numbers in found["ways"].items():
        print(
            f"{name:<14}{numbers['median_us']:>11.2f}{numbers['p99_us']:>9.2f}"
            f"   {numbers['p99_over']}"
        )
    for name, ratio in found["ratios"].items():
        print(f"{name}: {ratio:.1f}")
    print(
        f"aims: local share {AIM_SHARE_US} us, local copy {AIM_COPY_US} us,"
        f" tcp over copy {AIM_TCP_OVER_COPY}"
    )
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measure(*, rounds: int) -> dict[str, Any]:
    """The numbers, after a warm-up."""
    with ServerProcess("whole") as server, grpc.insecure_channel(server.address) as channel:
        ways = _ways(RemoteChannel(channel), server.authorization)
        deadline = time.monotonic() + _DEADLINE_SECONDS
        with entered(root(module=_CALLER, identity=USER, deadline=deadline)):
            _timed(ways, rounds=max(rounds // 10, 1))
            seconds = _timed(ways, rounds=rounds)
    told = {name: _told(ways[name], seconds[name]) for name in ways}
    medians = {name: numbers["median_us"] for name, numbers in told.items()}
    return {
        "machine": machine.described(),
        "ways": told,
        "ratios": {
            "tcp over copy": medians["tcp"] / medians["local copy"],
            "tcp over share": medians["tcp"] / medians["local share"],
            "share over bare": medians["local share"] / medians["bare method"],
        },
    }


def _ways(tcp: grpc.Channel, authorization: str) -> dict[str, Way]:
    servicer, request, registry = Hop(), a_request(), Registry()
    add: Any = hop_pb2_grpc.add_HopServiceServicer_to_server
    add(servicer, registry.registrar(MODULE))
    policy, _ = everything_on()
    share, copy = (
        hop_pb2_grpc.HopServiceStub(
            LocalChannel(registry, policy=policy, caller=_CALLER, share=share)
        ).Hop
        for share in (True, False)
    )
    far, metadata = hop_pb2_grpc.HopServiceStub(tcp).Hop, (("authorization", authorization),)
    # ``timeit`` writes the call itself into its loop: nothing else is timed but the loop.
    inside = {"request": request, "context": root(module=MODULE)}
    return {
        "bare method": _in_process("call(request, context)", call=servicer.Hop, **inside),
        "local share": _in_process("call(request)", call=share, **inside),
        "local copy": _in_process("call(request)", call=copy, **inside),
        "tcp": Way(
            Timer(lambda: far(request, metadata=metadata), _WITH_GC), 1, TCP_CALLS_PER_ROUND
        ),
    }


def _in_process(statement: str, **names: object) -> Way:
    return Way(Timer(statement, _WITH_GC, globals=names), CALLS_PER_BLOCK, 1)


def _timed(ways: Mapping[str, Way], *, rounds: int) -> dict[str, list[float]]:
    """Seconds per call of each block, by way."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (timer, block, blocks) in ways.items():
            seconds[name] += [timer.timeit(block) / block for _ in range(blocks)]
    return seconds


def _told(way: Way, seconds: list[float]) -> dict[str, Any]:
    return {
        "median_us": median(seconds) * _MICROSECONDS,
        "p99_us": quantiles(seconds, n=100)[-1] * _MICROSECONDS,
        "p99_over": "single calls" if way.block == 1 else f"means of {way.block} calls",
        "calls": len(seconds) * way.block,
    }
