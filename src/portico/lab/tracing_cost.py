"""What spans cost: a call where nobody traces, against code without any hook, and a call that is traced.

``without hooks`` is the same channel and pipeline compiled with everything left out that asks for a
tracer (``portico.lab.hookless``). ``off`` is the code as it is, in a process that exports no spans;
``sampled out`` has a tracer that records none of its traces; ``recorded`` makes both spans of the call
and hands them to a batch processor, whose exporter throws them away. All call the same servicer with
the same request from inside another call, by a local channel that copies. The last two lines are the
same over loopback TCP, with both sides of the call and their spans in this process: there the difference
says more than the time itself.

Rounds take turns over the ways, so that whatever else the machine does meets all of them. What ``off``
adds is the median over the rounds of its time against that of ``without hooks`` in the same round.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from timeit import Timer
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from portico.context import entered, root
from portico.lab import machine
from portico.lab.hookless import hookless
from portico.lab.subject import MODULE, USER, Hop, a_request, everything_on
from portico.lab.v1 import hop_pb2_grpc
from portico.rpc import local, pipeline
from portico.rpc.registry import Registry
from portico.rpc.remote import RemoteChannel
from portico.rpc.server import Server
from portico.telemetry.otel.tracer import Tracer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from portico.rpc.policy import Policy

ROUNDS = 200
AIM_PERCENT = 2.0

_CALLS_PER_BLOCK = {"without hooks": 1000, "off": 1000, "sampled out": 100, "recorded": 100}
_TCP_CALLS_PER_BLOCK = 5
_CALLER = "caller"
_DEADLINE_SECONDS = 600.0
_MICROSECONDS = 1e6
_WITH_GC = "__import__('gc').enable()"  # which timeit would switch off


def main(json_path: Path | None) -> None:
    """Measure, print, and write the numbers to ``json_path`` if there is one."""
    found = measure(rounds=ROUNDS)
    print(f"{'way':<16}{'median us':>11}")
    for name, microseconds in found["median_us"].items():
        print(f"{name:<16}{microseconds:>11.2f}")
    print(
        f"telemetry off adds {found['off_adds_percent']:+.2f} % to a call"
        f" (aim: less than {AIM_PERCENT:g} %)"
    )
    for name, microseconds in found["on_adds_us"].items():
        print(f"{name} adds {microseconds:.1f} us")
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measure(*, rounds: int) -> dict[str, Any]:
    """The numbers, after a warm-up."""
    with ExitStack() as stack:
        ways = _ways(stack)
        deadline = time.monotonic() + _DEADLINE_SECONDS
        stack.enter_context(entered(root(module=_CALLER, identity=USER, deadline=deadline)))
        _timed(ways, rounds=max(rounds // 10, 1))
        seconds = _timed(ways, rounds=rounds)
    medians = {name: median(each) * _MICROSECONDS for name, each in seconds.items()}
    against = zip(seconds["off"], seconds["without hooks"], strict=True)
    return {
        "machine": machine.described(),
        "rounds": rounds,
        "median_us": medians,
        "off_adds_percent": (median(off / without for off, without in against) - 1) * 100,
        "on_adds_us": {
            "sampled out": medians["sampled out"] - medians["off"],
            "recorded": medians["recorded"] - medians["off"],
            "tcp recorded": medians["tcp recorded"] - medians["tcp off"],
        },
    }


def _ways(stack: ExitStack) -> dict[str, tuple[Timer, int]]:
    """How each call is made, and how many are timed together."""
    registry, request = Registry(), a_request()
    add: Any = hop_pb2_grpc.add_HopServiceServicer_to_server
    add(Hop(), registry.registrar(MODULE))
    policy, authorization = everything_on()
    spare = hookless(local)
    spare.__dict__["compile_call"] = hookless(pipeline).__dict__["compile_call"]
    recorded = replace(policy, tracer=_tracer(stack, ratio=1.0))
    policies = {
        "without hooks": policy,
        "off": policy,
        "sampled out": replace(policy, tracer=_tracer(stack, ratio=0.0)),
        "recorded": recorded,
    }
    found: dict[str, tuple[Timer, int]] = {}
    for name, each in policies.items():
        make: Any = (
            spare.__dict__["LocalChannel"] if name == "without hooks" else local.LocalChannel
        )
        stub = hop_pb2_grpc.HopServiceStub(make(registry, policy=each, caller=_CALLER))
        names = {"call": stub.Hop, "request": request}
        timer = Timer("call(request)", _WITH_GC, globals=names)
        found[name] = timer, _CALLS_PER_BLOCK[name]
    metadata = (("authorization", authorization),)
    for name, each in (("tcp off", policy), ("tcp recorded", recorded)):
        far = hop_pb2_grpc.HopServiceStub(_over_tcp(stack, registry, each)).Hop
        names = {"call": far, "request": request, "metadata": metadata}
        timer = Timer("call(request, metadata=metadata)", _WITH_GC, globals=names)
        found[name] = timer, _TCP_CALLS_PER_BLOCK
    return found


def _over_tcp(stack: ExitStack, registry: Registry, policy: Policy) -> RemoteChannel:
    server = Server()
    server.bind()
    server.mount(registry, policy)
    server.start()
    stack.callback(server.stop, 0)
    channel = RemoteChannel(grpc.insecure_channel(server.address), tracer=policy.tracer)
    return stack.enter_context(channel)


def _timed(ways: Mapping[str, tuple[Timer, int]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds per call in each round, by way; every other round goes through them backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    turns = list(ways.items())
    for _ in range(rounds):
        for name, (timer, block) in turns:
            seconds[name].append(timer.timeit(block) / block)
        turns.reverse()
    return seconds


def _tracer(stack: ExitStack, *, ratio: float) -> Tracer:
    processor = BatchSpanProcessor(_Nowhere(), max_queue_size=8192, max_export_batch_size=512)
    tracer = Tracer(application="lab", process="lab", processors=[processor], ratio=ratio)
    stack.callback(tracer.close)
    return tracer


class _Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS
