"""A local channel's own: what no socket has."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.rpc.local import LocalChannel
from portico.rpc.registry import Registry

UNUSED: Any = lambda *_: None  # noqa: E731  # of whatever type a method has


class Servicer(stubs.GreeterServiceServicer):
    """Echoes."""

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        return pb.SayHelloResponse(message=request.name)

    Repeat = Gather = Chat = UNUSED


def test_of_another_kind_than_the_caller_thinks_are_refused_here() -> None:
    channel: Any = LocalChannel()
    stubs.add_GreeterServiceServicer_to_server(Servicer(), channel)
    call = channel.unary_unary("/examples.greeter.v1.GreeterService/Chat")

    with pytest.raises(grpc.RpcError) as caught:
        call(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_are_found_with_and_without_a_slash_in_front() -> None:
    channel: Any = LocalChannel()
    stubs.add_GreeterServiceServicer_to_server(Servicer(), channel)

    for path in ("/examples.greeter.v1.GreeterService/SayHello",) * 2:
        call = channel.unary_unary(
            path.lstrip("/"),
            pb.SayHelloRequest.SerializeToString,
            pb.SayHelloResponse.FromString,
        )
        assert call(pb.SayHelloRequest(name="a")).message == "a"


def test_a_service_is_registered_once() -> None:
    channel: Any = LocalChannel()
    stubs.add_GreeterServiceServicer_to_server(Servicer(), channel)
    with pytest.raises(ValueError, match="GreeterService is registered twice"):
        stubs.add_GreeterServiceServicer_to_server(Servicer(), channel)

    registry: Any = Registry()
    stubs.add_GreeterServiceServicer_to_server(Servicer(), registry.registrar("a"))
    with pytest.raises(ValueError, match="GreeterService is registered twice"):
        stubs.add_GreeterServiceServicer_to_server(Servicer(), registry.registrar("b"))
