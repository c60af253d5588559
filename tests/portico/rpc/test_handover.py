"""One server takes over another's port while clients call; no call fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as pb_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.server import Server
from portico.rpc.sharing import PortSharing
from portico.rpc.steering import steer
from portico.supervise.ports import ReservedPort

_LINGER_SECONDS = 1.5
_ALONE: Any = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each channel


class Greeter(pb_grpc.GreeterServiceServicer):
    def __init__(self, name: str) -> None:
        self.name = name

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        return pb.SayHelloResponse(message=self.name)


def _serve(name: str, port: int) -> Server:
    registry = Registry()
    add: Any = pb_grpc.add_GreeterServiceServicer_to_server
    greeter: Any = Greeter
    add(greeter(name), registry.registrar("greeter"))
    server = Server(port=port, sharing=PortSharing(linger_seconds=_LINGER_SECONDS))
    server.bind()
    server.mount(registry, Policy())
    server.start()
    return server


class Clients:
    """Threads that call without a pause, over a connection that they keep or over a new one each time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopping = threading.Event()
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._loop, args=(call,))
            for call in (self._keeping, self._keeping, self._anew)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _loop(self, calls: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            calls()

    def _keeping(self) -> None:
        with grpc.insecure_channel(self._address, _ALONE) as channel:
            while not self._stopping.is_set():
                self._call(channel)

    def _anew(self) -> None:
        with grpc.insecure_channel(self._address, _ALONE) as channel:
            self._call(channel)

    def _call(self, channel: grpc.Channel) -> None:
        try:
            answer = pb_grpc.GreeterServiceStub(channel).SayHello(pb.SayHelloRequest(), timeout=20)
        except grpc.RpcError as failure:
            self.failures.append(f"{failure.code()}: {failure.details()}")
        else:
            self.answers.append(answer.message)
        time.sleep(0.002)


@pytest.fixture
def port() -> Any:
    reserved = ReservedPort(host="127.0.0.1", setting="nothing")
    yield reserved.port
    reserved.close()


def test_a_server_hands_its_port_over_while_clients_call(port: int) -> None:
    old = _serve("old", port)
    with Clients(f"127.0.0.1:{port}") as clients:
        time.sleep(0.2)
        new = _serve("new", port)
        steer(port, [1])
        time.sleep(_LINGER_SECONDS)
        old.stop(5)
        time.sleep(0.2)
    new.stop(0)
    assert clients.failures == []
    assert {"old", "new"} == set(clients.answers)
    assert set(clients.answers[-20:]) == {"new"}


def test_a_server_that_shares_its_port_does_not_call_itself_unhealthy_when_it_leaves(
    port: int,
) -> None:
    old = _serve("old", port)
    with grpc.insecure_channel(f"127.0.0.1:{port}", _ALONE) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        old.stop(0)
        with pytest.raises(grpc.RpcError):
            next(watching)  # what has ended says nothing about those who go on


def test_a_shared_port_is_taken_only_when_calls_are_answered(port: int) -> None:
    server = Server(port=port, sharing=PortSharing())
    server.bind()
    with (
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        pytest.raises(grpc.RpcError) as failed,
    ):
        pb_grpc.GreeterServiceStub(channel).SayHello(pb.SayHelloRequest(), timeout=5)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


def test_connections_grow_no_older_than_a_server_lingers() -> None:
    age = PortSharing(linger_seconds=10).connection_age_seconds
    assert age is not None
    assert age * 1.1 < 10
    assert PortSharing().connection_age_seconds is None
