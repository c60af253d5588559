"""Calls to another process are counted where they are made, each once, also those that never arrive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as pb_grpc

from portico.rpc.peer import Peer
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.server import Server
from portico.telemetry.metrics import Metrics
from tests.portico.telemetry.greeting import SERVICE, Greeter

NAME = SERVICE.strip("/")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    registry, greeter, server = Registry(), Greeter(), Server()
    greeter.other = pb_grpc.GreeterServiceStub(grpc.insecure_channel("127.0.0.1:1"))
    add: Any = pb_grpc.add_GreeterServiceServicer_to_server
    add(greeter, registry.registrar("greeter"))
    server.bind()
    server.mount(registry, Policy())
    server.start()
    yield server.address
    server.stop(0)


class Hop:
    """A peer whose calls are counted."""

    def __init__(self, address: str) -> None:
        self.metrics = Metrics()
        self.peer = Peer(
            address,
            services=[NAME],
            process="greeter",
            metrics=self.metrics,
        )
        self.stub = pb_grpc.GreeterServiceStub(self.peer.channel(caller="shop"))

    def counts(self, method: str, *, calls: int) -> dict[str, int]:
        """By outcome, when there are so many: a call may be told to have ended before it is counted."""
        series = self.metrics.hop(f"{SERVICE}/{method}", target="greeter", caller="shop")
        until = time.monotonic() + 10
        while sum(series.counts().values()) < calls and time.monotonic() < until:
            time.sleep(0.01)
        return {code: count for code, count in series.counts().items() if count}


@pytest.fixture
def hop(address: str) -> Iterator[Hop]:
    hop = Hop(address)
    yield hop
    hop.peer.close()


def hello(name: str = "you") -> pb.SayHelloRequest:
    return pb.SayHelloRequest(name=name)


def test_unary_calls_are_counted_by_outcome(hop: Hop) -> None:
    hop.stub.SayHello(hello())
    hop.stub.SayHello.with_call(hello())
    hop.stub.SayHello.future(hello()).result()
    for call in (hop.stub.SayHello, hop.stub.SayHello.with_call):
        with suppress(grpc.RpcError):
            call(hello("nobody"))

    assert hop.counts("SayHello", calls=5) == {"OK": 3, "NOT_FOUND": 2}


def test_streams_are_counted_at_their_end(hop: Hop) -> None:
    list(hop.stub.Repeat(pb.RepeatRequest(times=0)))
    list(hop.stub.Chat(iter([pb.ChatRequest(name="a")])))
    hop.stub.Gather(iter([pb.GatherRequest(name="a")]))
    given_up = hop.stub.Chat(iter([pb.ChatRequest(name="a")] * 100_000))
    next(given_up)
    given_up.cancel()

    assert hop.counts("Repeat", calls=1) == {"OK": 1}
    assert hop.counts("Gather", calls=1) == {"OK": 1}
    assert hop.counts("Chat", calls=2) == {"OK": 1, "CANCELLED": 1}


def test_calls_that_never_arrive_are_counted_too() -> None:
    hop = Hop("127.0.0.1:1")
    try:
        for _ in range(30):  # the circuit opens on the way: those after that are refused at once
            with suppress(grpc.RpcError):
                hop.stub.SayHello(hello(), timeout=5)
        with suppress(grpc.RpcError):
            hop.stub.SayHello.future(hello(), timeout=5).result()
        assert hop.counts("SayHello", calls=31) == {"UNAVAILABLE": 31}
    finally:
        hop.peer.close()


def test_a_scrape_shows_them(hop: Hop) -> None:
    hop.stub.SayHello(hello())
    body, _ = hop.metrics.render()

    labels = f'caller="shop",code="OK",method="{SERVICE}/SayHello",target="greeter"'
    found = [line for line in body.decode().splitlines() if line.startswith("portico_hops_total{")]
    assert [line for line in found if all(each in line for each in labels.split(","))]
    assert b"portico_hop_seconds_bucket" in body
