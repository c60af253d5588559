"""Metadata, headers and trailers: what is sent, what arrives, what cannot travel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing import parity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

SENT: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "nothing": lambda: (),
    "order and duplicates": lambda: (("b", "2"), ("a", "1"), ("b", "1")),
    "a list": lambda: [("a", "1")],
    "a list of lists": lambda: [["a", "1"]],
    "a generator": lambda: (pair for pair in (("a", "1"), ("b", "2"))),
    "a dictionary": lambda: {"a": "1"},
    "binary": lambda: (("a-bin", b"\x00\xff"), ("b-bin", b"")),
    "bytes as text": lambda: (("a", b"x"),),
    "bytes that are no text": lambda: (("a", b"\xff"),),
    "a key in bytes": lambda: ((b"a", "x"),),
    "a value that is None": lambda: (("a", None),),
    "blanks": lambda: (("a", "  x  "), ("b", "")),
    "all visible characters": lambda: (("a", "".join(map(chr, range(0x20, 0x7F)))),),
    "a key with capitals": lambda: (("Upper", "1"),),
    "an empty key": lambda: (("", "1"),),
    "a key with a blank": lambda: (("a b", "1"),),
    "a pseudo header": lambda: ((":path", "x"),),
    "text that is not ASCII": lambda: (("a", "é"),),
    "a line break": lambda: (("a", "x\ny"),),
    "text under a binary key": lambda: (("a-bin", "x"),),
    "a number": lambda: (("a", 1),),
    "three instead of two": lambda: (("a", "b", "c"),),
    "keys of the transport": lambda: (("te", "x"), ("content-type", "x"), ("a", "1")),
}


class Servicer(stubs.GreeterServiceServicer):
    """Tells what it received, and sends what it is told to."""

    def __init__(
        self, *, headers: Any = None, trailers: Any = None, release: threading.Event | None = None
    ) -> None:
        self._headers = headers
        self._trailers = trailers
        self._release = release

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        self._send(context)
        return pb.SayHelloResponse(message=_received(context))

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        self._send(context)
        if self._release is not None:
            self._release.wait(20)
        yield pb.RepeatResponse(message=_received(context))
        if request.name == "late headers":
            try:
                context.send_initial_metadata((("late", "1"),))
            except ValueError as error:
                yield pb.RepeatResponse(message=str(error))

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        self._send(context)
        return pb.GatherResponse(message=_received(context))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        self._send(context)
        yield pb.ChatResponse(message=_received(context))

    def _send(self, context: Any) -> None:
        if self._headers is not None:
            context.send_initial_metadata(self._headers)
        if self._trailers is not None:
            context.set_trailing_metadata(self._trailers)


def _received(context: Any) -> str:
    pairs = context.invocation_metadata()
    assert all(pair.key == pair[0] and pair.value == pair[1] for pair in pairs)
    return repr([tuple(pair) for pair in parity.metadata(pairs)])


def adding(servicer: Servicer) -> Callable[[Any], None]:
    return lambda registrar: stubs.add_GreeterServiceServicer_to_server(servicer, registrar)


@pytest.mark.parametrize("name", SENT)
def test_what_a_caller_sends_arrives_the_same_or_is_refused_the_same(agree: Any, name: str) -> None:
    def script(channel: grpc.Channel) -> Any:
        stub = stubs.GreeterServiceStub(channel)
        sent = SENT[name]
        return {
            "call": parity.told(
                lambda: stub.SayHello(pb.SayHelloRequest(), metadata=sent(), timeout=20).message
            ),
            "future": parity.told(
                lambda: (
                    stub.SayHello.future(pb.SayHelloRequest(), metadata=sent(), timeout=20)
                    .result()
                    .message
                )
            ),
            "stream": parity.told(
                lambda: [
                    each.message
                    for each in stub.Repeat(pb.RepeatRequest(), metadata=sent(), timeout=20)
                ]
            ),
            "requests": parity.told(
                lambda: stub.Gather(iter(()), metadata=sent(), timeout=20).message
            ),
            "both": parity.told(
                lambda: [each.message for each in stub.Chat(iter(()), metadata=sent(), timeout=20)]
            ),
        }

    agree(adding(Servicer()), script)


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        [("a", "1")],
        (("b", "2"), ("a", "1"), ("b", "1")),
        (("a-bin", b"\x00\xff"), ("a", b"text")),
        (("a", "  x  "), ("b", "")),
    ],
)
def test_headers_and_trailers_arrive_as_they_were_sent(agree: Any, pairs: Any) -> None:
    def script(channel: grpc.Channel) -> Any:
        stub = stubs.GreeterServiceStub(channel)
        _, unary = stub.SayHello.with_call(pb.SayHelloRequest(), timeout=20)
        _, requests = stub.Gather.with_call(iter(()), timeout=20)
        stream = stub.Repeat(pb.RepeatRequest(), timeout=20)
        both = stub.Chat(iter(()), timeout=20)
        return [parity.ended(call) for call in (unary, requests, _read(stream), _read(both))]

    agree(adding(Servicer(headers=pairs, trailers=pairs)), script)


def test_headers_arrive_before_the_first_message(agree: Any) -> None:
    release = threading.Event()

    def script(channel: grpc.Channel) -> Any:
        release.clear()
        call = stubs.GreeterServiceStub(channel).Repeat(pb.RepeatRequest(), timeout=20)
        headers = parity.metadata(call.initial_metadata())
        release.set()
        return {"headers": headers, "messages": len(list(call))}

    outcome = agree(adding(Servicer(headers=(("early", "1"),), release=release)), script)

    assert outcome == {"headers": [("early", "1")], "messages": 1}


def test_headers_go_before_messages_or_not_at_all(agree: Any) -> None:
    def script(channel: grpc.Channel) -> Any:
        call = stubs.GreeterServiceStub(channel).Repeat(
            pb.RepeatRequest(name="late headers"), timeout=20
        )
        return {"messages": [each.message for each in call], "call": parity.ended(call)}

    outcome = agree(adding(Servicer()), script)

    assert outcome["messages"][1] == "Initial metadata no longer allowed!"
    assert outcome["call"]["initial"] == []


def test_headers_are_sent_once(agree: Any) -> None:
    class Twice(Servicer):
        def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
            context.send_initial_metadata((("first", "1"),))
            try:
                context.send_initial_metadata((("second", "1"),))
            except ValueError as error:
                return pb.SayHelloResponse(message=str(error))
            return pb.SayHelloResponse()

    def script(channel: grpc.Channel) -> Any:
        response, call = stubs.GreeterServiceStub(channel).SayHello.with_call(pb.SayHelloRequest())
        return {"message": response.message, "call": parity.ended(call)}

    outcome = agree(adding(Twice()), script)

    assert outcome["message"] == "Initial metadata no longer allowed!"
    assert outcome["call"]["initial"] == [("first", "1")]


def test_trailers_set_twice_are_the_second_ones(agree: Any) -> None:
    class Twice(Servicer):
        def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
            context.set_trailing_metadata((("first", "1"),))
            before = repr(parity.metadata(context.trailing_metadata()))
            context.set_trailing_metadata((("second", "1"),))
            return pb.SayHelloResponse(message=before)

    def script(channel: grpc.Channel) -> Any:
        response, call = stubs.GreeterServiceStub(channel).SayHello.with_call(pb.SayHelloRequest())
        return {"message": response.message, "call": parity.ended(call)}

    assert agree(adding(Twice()), script)["call"]["trailing"] == [("second", "1")]


def _read(call: Any) -> Any:
    for _ in call:
        pass
    return call
