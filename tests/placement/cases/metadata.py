"""Metadata, headers and trailers: what is sent, what arrives, what cannot travel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing import parity, planted
from portico.testing.cases import Group
from tests.placement.greeting import (
    NO_FUTURES,
    PATIENCE_SECONDS,
    READ_WHOLE,
    answered,
    chat,
    gather,
    greeter,
    populating,
    read,
    repeat,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.testing.cases import Script
    from portico.testing.transports import Stand

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
PAIRS: dict[str, Any] = {
    "none": (),
    "one in a list": [("a", "1")],
    "order and duplicates": (("b", "2"), ("a", "1"), ("b", "1")),
    "binary ones": (("a-bin", b"\x00\xff"), ("a", b"text")),
    "blanks": (("a", "  x  "), ("b", "")),
}


class Servicer(stubs.GreeterServiceServicer):
    """Tells what it received, and sends what it is told to."""

    def __init__(self) -> None:
        self.headers: Any = None
        self.trailers: Any = None
        self.twice = False
        self.release: threading.Event | None = None

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        refused = self._send(context)
        return pb.SayHelloResponse(message=refused or _received(context))

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        self._send(context)
        if self.release is not None:
            self.release.wait(PATIENCE_SECONDS)
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

    def _send(self, context: Any) -> str:
        if self.trailers is not None:
            context.set_trailing_metadata(self.trailers)
        if self.headers is not None:
            context.send_initial_metadata(self.headers)
        if self.twice:
            before = repr(parity.metadata(context.trailing_metadata()))
            context.set_trailing_metadata((("second", "1"),))
            try:
                context.send_initial_metadata((("second", "1"),))
            except ValueError as error:
                return f"{error} {before}"
        return ""


def _received(context: Any) -> str:
    pairs = context.invocation_metadata()
    assert all(pair.key == pair[0] and pair.value == pair[1] for pair in pairs)
    return repr([tuple(pair) for pair in parity.metadata(pairs)])


POPULATE = populating(Servicer)
sent = Group(name="metadata", populate=POPULATE, stay=True)
answers = Group(name="headers and trailers", populate=POPULATE)
GROUPS = [sent, answers]


def _sending(make: Callable[[], Any]) -> Script:
    def script(stand: Stand) -> Any:
        stub = greeter(stand)

        def options() -> Any:
            return {"metadata": make(), "timeout": PATIENCE_SECONDS}

        return {
            "call": parity.told(lambda: stub.SayHello(say(), **options()).message),
            "stream": parity.told(
                lambda: [each.message for each in stub.Repeat(repeat(), **options())]
            ),
            "requests": parity.told(lambda: stub.Gather(gather(), **options()).message),
            "both": parity.told(lambda: [each.message for each in stub.Chat(chat(), **options())]),
        }

    return script


def _sending_by_future(make: Callable[[], Any]) -> Script:
    def script(stand: Stand) -> Any:
        method, sent = greeter(stand).SayHello, make()
        return parity.told(
            lambda: method.future(say(), metadata=sent, timeout=PATIENCE_SECONDS).result().message
        )

    return script


RECEIVED = {
    "order and duplicates": "[('b', '2'), ('a', '1'), ('b', '1')]",
    "binary": "[('a-bin', b'\\x00\\xff'), ('b-bin', b'')]",
}
for name, make in SENT.items():
    said = RECEIVED.get(name)
    sent.add(name, _sending(make), expects={"call.value": said} if said else None)
    sent.add(f"{name}, by future", _sending_by_future(make), without=NO_FUTURES)


def _answering(pairs: Any) -> Script:
    def script(stand: Stand) -> Any:
        stand.servicer.headers = stand.servicer.trailers = pairs
        stub, seconds = greeter(stand), PATIENCE_SECONDS
        return {
            "unary": answered(*stub.SayHello.with_call(say(), timeout=seconds)),
            "requests": answered(*stub.Gather.with_call(gather(), timeout=seconds)),
            "stream": read(stub.Repeat(repeat(), timeout=seconds)),
            "both": read(stub.Chat(chat(), timeout=seconds)),
        }

    return script


for name, pairs in PAIRS.items():
    answers.add(name, _answering(pairs))


@answers.case(expects={"call.trailing[0]": ("a", "1"), "call.trailing[1]": (planted.KEY, "here")})
def a_trailer_among_others_is_not_lost(stand: Stand) -> Any:
    stand.servicer.trailers = (("a", "1"), (planted.KEY, "here"), ("z", "9"))
    return answered(*greeter(stand).SayHello.with_call(say(), timeout=PATIENCE_SECONDS))


@answers.case(expects={"headers[0]": ("early", "1"), "messages": 1}, without=READ_WHOLE)
def headers_arrive_before_the_first_message(stand: Stand) -> Any:
    stand.servicer.headers = (("early", "1"),)
    stand.servicer.release = threading.Event()
    call = greeter(stand).Repeat(repeat(), timeout=PATIENCE_SECONDS)
    headers = parity.metadata(call.initial_metadata())
    stand.servicer.release.set()
    return {"headers": headers, "messages": len(list(call))}


@answers.case(expects={"messages[1]": "Initial metadata no longer allowed!", "call.initial": []})
def headers_go_before_messages_or_not_at_all(stand: Stand) -> Any:
    return read(greeter(stand).Repeat(repeat("late headers"), timeout=PATIENCE_SECONDS))


@answers.case(
    expects={
        "message": "Initial metadata no longer allowed! [('first', '1')]",
        "call.initial[0]": ("first", "1"),
        "call.trailing[0]": ("second", "1"),
    }
)
def headers_are_sent_once_and_trailers_set_twice_are_the_second_ones(stand: Stand) -> Any:
    stand.servicer.headers = stand.servicer.trailers = (("first", "1"),)
    stand.servicer.twice = True
    return answered(*greeter(stand).SayHello.with_call(say(), timeout=PATIENCE_SECONDS))
