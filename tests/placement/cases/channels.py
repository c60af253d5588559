"""Channels themselves: closed, listened to, asked for methods that are not there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.greeting import (
    NO_CHANNEL,
    PATIENCE_SECONDS,
    chat,
    gather,
    greeter,
    populating,
    repeat,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.testing.cases import Script
    from portico.testing.transports import Stand


class Servicer(stubs.GreeterServiceServicer):
    """Echoes; on "wait" it waits."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.started = threading.Event()

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        self._act(request.name)
        return pb.SayHelloResponse(message=request.name)

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        self._act(request.name)
        yield pb.RepeatResponse(message=request.name)

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        return pb.GatherResponse(message=" ".join(each.name for each in request_iterator))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            yield pb.ChatResponse(message=request.name)

    def _act(self, name: str) -> None:
        if name == "wait":
            self.started.set()
            self.go_on.wait(PATIENCE_SECONDS)


def _populate_base(registrar: Any) -> None:
    """A servicer that left every method as the generated class has it."""
    base: Any = stubs.GreeterServiceServicer
    stubs.add_GreeterServiceServicer_to_server(base(), registrar)


POPULATE = populating(Servicer)
channels = Group(name="channels", populate=POPULATE, without=NO_CHANNEL)
unknown = Group(name="unknown methods", populate=POPULATE, stay=True, without=NO_CHANNEL)
left_out = Group(name="methods left out", populate=_populate_base)
GROUPS = [channels, unknown, left_out]


def _of_the_client(stand: Stand) -> Any:
    return stubs.GreeterServiceStub(stand.client)


@channels.case(expects={"[0].raised": "ValueError", "[5].raised": "ValueError"})
def refuse_calls_once_closed(stand: Stand) -> Any:
    stub = _of_the_client(stand)
    stub.SayHello(say(), timeout=PATIENCE_SECONDS)
    stand.client.close()
    return [
        parity.told(lambda: stub.SayHello(say(), timeout=1)),
        parity.told(lambda: stub.SayHello.with_call(say(), timeout=1)),
        parity.told(lambda: stub.SayHello.future(say(), timeout=1)),
        parity.told(lambda: stub.Repeat(repeat(), timeout=1)),
        parity.told(lambda: stub.Gather(gather(), timeout=1)),
        parity.told(lambda: stub.Chat(chat(), timeout=1)),
    ]


@channels.case(expects={"future.details": "Channel closed!"})
def end_what_is_under_way_when_they_close(stand: Stand) -> Any:
    stub = _of_the_client(stand)
    future = stub.SayHello.future(say("wait"), timeout=PATIENCE_SECONDS)
    stand.servicer.started.wait(PATIENCE_SECONDS)
    stream = stub.Repeat(repeat("wait"), timeout=PATIENCE_SECONDS)
    stand.client.close()
    outcome = {
        "future": parity.told(lambda: future.result(timeout=PATIENCE_SECONDS)),
        "call": parity.ended(future),
        "stream": parity.told(lambda: next(stream)),
        "again": parity.told(stand.client.close),
    }
    stand.servicer.go_on.set()
    return outcome


@channels.case(expects={"": (True, None)})
def get_ready_and_say_so(stand: Stand) -> Any:
    ready = threading.Event()

    def listen(state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            ready.set()

    stand.client.subscribe(listen, try_to_connect=True)
    heard = ready.wait(PATIENCE_SECONDS)
    stand.client.unsubscribe(listen)
    future = grpc.channel_ready_future(stand.client)
    return heard, future.result(timeout=PATIENCE_SECONDS)


@channels.case(expects={"": "a"})
def outlive_a_listener_that_raises(stand: Stand) -> Any:
    def listen(_: grpc.ChannelConnectivity) -> None:
        raise ZeroDivisionError

    stand.client.subscribe(listen, try_to_connect=True)
    return _of_the_client(stand).SayHello(say("a"), timeout=PATIENCE_SECONDS).message


@channels.case(expects={"": (True, {"raised": "ValueError"})})
def are_closed_by_their_block(stand: Stand) -> Any:
    stub = _of_the_client(stand)
    with stand.client as entered:
        same = entered is stand.client
    return same, parity.told(lambda: stub.SayHello(say(), timeout=1))


def _calling(path: str) -> Script:
    def script(stand: Stand) -> Any:
        channel, seconds = stand.channel, PATIENCE_SECONDS
        unary: Any = channel.unary_unary(path)
        stream: Any = channel.unary_stream(path)
        requests: Any = channel.stream_unary(path)
        both: Any = channel.stream_stream(path)
        future = unary.future(b"", timeout=seconds)
        return {
            "call": parity.told(lambda: unary(b"", timeout=seconds)),
            "with_call": parity.told(lambda: unary.with_call(b"", timeout=seconds)),
            "future": parity.told(future.result),
            "ended": parity.ended(future),
            "stream": parity.told(lambda: next(stream(b"", timeout=seconds))),
            "requests": parity.told(lambda: requests(iter([b""]), timeout=seconds)),
            "both": parity.told(lambda: next(both(iter([b""]), timeout=seconds))),
        }

    return script


for what, path in {
    "of a service that is there": "/examples.greeter.v1.GreeterService/Unknown",
    "of a service that is not": "/examples.greeter.v1.UnknownService/SayHello",
    "that are no path": "/nonsense",
}.items():
    unknown.add(
        what,
        _calling(path),
        expects={"call.code": "UNIMPLEMENTED", "call.details": "Method not found!"},
    )


@left_out.case(expects={"[0].code": "UNIMPLEMENTED", "[0].details": "Method not implemented!"})
def are_unimplemented(stand: Stand) -> Any:
    stub, seconds = greeter(stand), PATIENCE_SECONDS
    return [
        parity.told(lambda: stub.SayHello(say(), timeout=seconds)),
        parity.told(lambda: next(stub.Repeat(repeat(), timeout=seconds))),
    ]
