"""A greeter whose calls are traced, in either placement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as pb_grpc

from portico import errors
from portico.context import current
from portico.lab import trace_tree
from portico.rpc.local import LocalChannel
from portico.rpc.peer import Peer
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.remote import RemoteChannel
from portico.rpc.server import Server
from portico.telemetry.export import open_tracer
from portico.telemetry.metrics import Metrics
from portico.telemetry.otel.tracer import Tracer

PLACEMENTS = ("local", "remote")
SERVICE = "/examples.greeter.v1.GreeterService"


class Greeter(pb_grpc.GreeterServiceServicer):
    """Greets, and asks another greeter for what comes after a colon."""

    def __init__(self) -> None:
        self.other: Any = None
        self.traces: list[tuple[str, str]] = []
        self.metadata: list[tuple[str, str | bytes]] = []
        self.twice = False

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        call = current()
        self.traces.append((call.trace_id, "" if call.span is None else call.span.place.trace_id))
        self.metadata = list(context.invocation_metadata())
        first, _, rest = request.name.partition(":")
        if first == "nobody":
            raise errors.not_found("NOBODY", "there is nobody")
        if first == "broken":
            raise RuntimeError("broken")
        if first == "aborted":
            context.abort(grpc.StatusCode.DATA_LOSS, "lost")
        if rest:
            for _ in range(1 + self.twice):
                self.other.SayHello(pb.SayHelloRequest(name=rest))
        return pb.SayHelloResponse(message=f"Hello, {first}!")

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        for _ in range(request.times):
            self.other.SayHello(pb.SayHelloRequest(name="again"))
            yield pb.RepeatResponse(message="again")
        if request.name == "nobody":
            raise errors.not_found("NOBODY", "there is nobody")

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        return pb.GatherResponse(message=" ".join(each.name for each in request_iterator))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for each in request_iterator:
            yield pb.ChatResponse(message=each.name)


@dataclass
class Greeting:
    """A greeter behind a channel, and what was recorded of the calls."""

    stub: Any
    servicer: Greeter
    channel: grpc.Channel
    policy: Policy
    tracer: Tracer
    file: Path
    _closed: list[bool] = field(default_factory=list)

    def spans(self) -> list[trace_tree.Span]:
        """Every span that has ended."""
        assert self.tracer.flush()
        return trace_tree.read(self.file)

    def shapes(self) -> list[trace_tree.Shape]:
        """The shapes of all traces, one after the other."""
        roots = trace_tree.trees(self.spans())
        return [shape for trace in roots.values() for shape, _ in trace_tree.flat(trace)]


Greet = Callable[..., Greeting]


@pytest.fixture
def greet(tmp_path: Path) -> Iterator[Greet]:
    """Makes a greeter in a placement, traced to a file of its own."""
    ends: list[Callable[[], object]] = []

    def made(placement: str, *, ratio: float = 1.0) -> Greeting:
        file = tmp_path / f"{placement}-{len(ends)}.jsonl"
        tracer = open_tracer(application="greeter", process=placement, file=file, ratio=ratio)
        assert tracer is not None
        ends.append(tracer.close)
        servicer, registry, policy = Greeter(), Registry(), Policy(tracer=tracer)
        add: Any = pb_grpc.add_GreeterServiceServicer_to_server
        add(servicer, registry.registrar("greeter"))
        channel: grpc.Channel
        if placement == "local":
            channel = LocalChannel(registry, policy=policy)
        else:
            server = Server()
            server.bind()
            server.mount(registry, policy)
            server.start()
            ends.append(lambda: server.stop(0))
            if placement == "remote":
                channel = RemoteChannel(grpc.insecure_channel(server.address), tracer=tracer)
                ends.append(channel.close)
            else:  # behind the breakers of a connection between processes
                peer = Peer(server.address, services=[SERVICE.strip("/")], metrics=Metrics())
                channel = peer.channel(tracer=tracer)
                ends.append(peer.close)
        stub = pb_grpc.GreeterServiceStub(channel)
        servicer.other = stub
        return Greeting(stub, servicer, channel, policy, tracer, file)

    yield made
    for end in reversed(ends):
        end()
