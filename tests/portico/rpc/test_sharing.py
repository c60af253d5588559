"""The watch over shared messages: it finds whoever changes one, and nobody else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing.sharing import SharedMessageChangedError, WatchedChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Servicer(stubs.GreeterServiceServicer):
    """Behaves, but for what its request's name asks for."""

    def __init__(self) -> None:
        self.kept: Any = None

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        if request.name == "change the request":
            request.name = "changed"
        response = pb.SayHelloResponse(message="hello")
        if request.name == "keep the response":
            self.kept = response
        return response

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        response = pb.RepeatResponse()
        for number in range(3):
            if request.name == "fresh":
                response = pb.RepeatResponse()
            response.message = str(number)
            yield response

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        return pb.GatherResponse(message=" ".join(each.name for each in request_iterator))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            yield pb.ChatResponse(message=request.name)


def _behave(stub: Any, servicer: Servicer) -> None:
    for _ in range(3):
        assert stub.SayHello(pb.SayHelloRequest(name="a")).message == "hello"
    list(stub.Repeat(pb.RepeatRequest(name="fresh")))
    stub.Gather(iter([pb.GatherRequest(name="a"), pb.GatherRequest(name="b")]))
    list(stub.Chat(iter([pb.ChatRequest(name="a"), pb.ChatRequest(name="b")])))


def _read_only(stub: Any, servicer: Servicer) -> None:
    request = pb.SayHelloRequest(name="sent again and again")
    for _ in range(3):
        _ = stub.SayHello(request).message + request.name


def _servicer_changes_its_request(stub: Any, servicer: Servicer) -> None:
    stub.SayHello(pb.SayHelloRequest(name="change the request"))


def _caller_changes_its_request(stub: Any, servicer: Servicer) -> None:
    request = pb.SayHelloRequest(name="a")
    stub.SayHello(request)
    request.name = "b"


def _caller_changes_its_response(stub: Any, servicer: Servicer) -> None:
    stub.SayHello(pb.SayHelloRequest(name="a")).message = "changed"


def _servicer_changes_its_response(stub: Any, servicer: Servicer) -> None:
    stub.SayHello(pb.SayHelloRequest(name="keep the response"))
    servicer.kept.message = "changed"


def _servicer_uses_a_response_again(stub: Any, servicer: Servicer) -> None:
    list(stub.Repeat(pb.RepeatRequest(name="the same")))


def _caller_uses_a_request_again(stub: Any, servicer: Servicer) -> None:
    request = pb.GatherRequest()

    def requests() -> Iterator[pb.GatherRequest]:
        for number in range(3):
            request.name = str(number)
            yield request

    stub.Gather(requests())


def watched(use: Callable[[Any, Servicer], None]) -> None:
    servicer, channel = Servicer(), WatchedChannel()
    target: Any = channel
    stubs.add_GreeterServiceServicer_to_server(servicer, target)
    with suppress(Exception):  # the call itself may fail of it; closing must
        use(stubs.GreeterServiceStub(channel), servicer)
    channel.close()


@pytest.mark.parametrize("use", [_behave, _read_only])
def test_who_changes_nothing_is_left_alone(use: Any) -> None:
    watched(use)


@pytest.mark.parametrize(
    "use",
    [
        _servicer_changes_its_request,
        _caller_changes_its_request,
        _caller_changes_its_response,
        _servicer_changes_its_response,
        _servicer_uses_a_response_again,
        _caller_uses_a_request_again,
    ],
)
def test_who_changes_a_shared_message_is_found(use: Any) -> None:
    with pytest.raises(SharedMessageChangedError, match="was changed after it was handed over"):
        watched(use)


def test_a_change_is_told_at_the_next_call_too() -> None:
    channel: Any = WatchedChannel()
    stubs.add_GreeterServiceServicer_to_server(Servicer(), channel)
    stub = stubs.GreeterServiceStub(channel)
    stub.SayHello(pb.SayHelloRequest(name="a")).message = "changed"

    with pytest.raises(SharedMessageChangedError, match="a response of /examples"):
        stub.SayHello(pb.SayHelloRequest(name="a"))


def test_messages_are_shared_and_not_copied() -> None:
    channel: Any = WatchedChannel()
    servicer = Servicer()
    stubs.add_GreeterServiceServicer_to_server(servicer, channel)

    response = stubs.GreeterServiceStub(channel).SayHello(
        pb.SayHelloRequest(name="keep the response")
    )

    assert response is servicer.kept
