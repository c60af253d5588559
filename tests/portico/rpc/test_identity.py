"""Whose call it is: one token per call, and nobody becomes somebody else on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as pb_grpc

from portico import LocalChannel
from portico.context import Identity, current
from portico.errors import unauthenticated
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


def _authenticate(header: str) -> Identity:
    if header == "expired":
        raise unauthenticated("TOKEN_EXPIRED", "the token has expired")
    return Identity(header)


POLICY = Policy(authenticate=_authenticate)


class Naming:
    """Says who asks; ``via:<token>`` asks itself again under another token and says both."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

    def __init__(self, registry: Registry) -> None:
        self._stub = pb_grpc.GreeterServiceStub(LocalChannel(registry, policy=POLICY))

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        inner = ""
        if request.name.startswith("via:"):
            token = request.name.removeprefix("via:")
            metadata = (("authorization", token),) if token else None
            inner = self._stub.SayHello(pb.SayHelloRequest(), metadata=metadata).message + " in "
        return pb.SayHelloResponse(message=f"{inner}{current().identity.subject or 'nobody'}")


@pytest.fixture
def channels() -> Iterator[dict[str, grpc.Channel]]:
    registry = Registry()
    add: Any = pb_grpc.add_GreeterServiceServicer_to_server
    add(Naming(registry), registry.registrar("greeter"))
    server = Server()
    server.bind()
    server.mount(registry, POLICY)
    server.start()
    with grpc.insecure_channel(server.address) as socket:
        yield {"local": LocalChannel(registry, policy=POLICY), "socket": socket}
    server.stop(0)


def _who(channel: grpc.Channel, name: str, *tokens: str) -> str:
    stub = pb_grpc.GreeterServiceStub(channel)
    metadata = tuple(("authorization", token) for token in tokens)
    return stub.SayHello(pb.SayHelloRequest(name=name), metadata=metadata, timeout=10).message


@pytest.mark.parametrize("over", ["local", "socket"])
class TestIdentity:
    def test_the_first_of_two_tokens_counts(
        self, channels: dict[str, grpc.Channel], over: str
    ) -> None:
        assert _who(channels[over], "", "first", "second") == "first"

    def test_a_call_inside_a_call_is_for_the_same_user(
        self, channels: dict[str, grpc.Channel], over: str
    ) -> None:
        assert _who(channels[over], "via:", "outer") == "outer in outer"

    def test_another_token_inside_changes_nothing_outside(
        self, channels: dict[str, grpc.Channel], over: str
    ) -> None:
        assert _who(channels[over], "via:inner", "outer") == "inner in outer"

    def test_a_token_that_is_not_good_makes_nobody_of_the_call_inside_alone(
        self, channels: dict[str, grpc.Channel], over: str
    ) -> None:
        assert _who(channels[over], "via:expired", "outer") == "nobody in outer"
        assert _who(channels[over], "", "expired") == "nobody"
