"""Streams: what arrives of them, who reads how far ahead, who stops first."""

from __future__ import annotations

import gc
import itertools
import threading
from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.greeting import (
    MEGABYTE,
    NO_DEADLINE,
    NO_FUTURES,
    NOT_LOOKED_AT,
    OWN_ITERATOR,
    OWN_WORDS,
    PATIENCE_SECONDS,
    READ_WHOLE,
    ROUNDED,
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


class Servicer(stubs.GreeterServiceServicer):
    """Streams of all kinds; ``seen`` is what a script may wait for."""

    def __init__(self) -> None:
        self.context: Any = None
        self.requests: Any = None
        self.go_on = threading.Event()
        self.started = threading.Event()
        self.seen = threading.Event()
        self.produced = 0

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        return pb.SayHelloResponse(message=request.name)

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Any:
        self.context = context
        return getattr(self, "_" + request.name)(request, context)

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        first = next(request_iterator, pb.GatherRequest(name="join"))
        return pb.GatherResponse(message=getattr(self, "_" + first.name)(request_iterator, context))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            yield pb.ChatResponse(message=request.name)

    def _count(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        for number in range(request.times):
            yield pb.RepeatResponse(message=str(number))

    def _list(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        return iter([pb.RepeatResponse(message="a"), pb.RepeatResponse(message="b")])

    def _none(self, request: pb.RepeatRequest, context: Any) -> Any:
        yield pb.RepeatResponse(message="before")
        yield None
        yield pb.RepeatResponse(message="after")

    def _empty(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        yield pb.RepeatResponse()
        yield pb.RepeatResponse(message="é" * MEGABYTE)
        yield pb.RepeatResponse()

    def _wrong(self, request: pb.RepeatRequest, context: Any) -> Any:
        yield pb.RepeatResponse(message="before")
        yield "no message"

    def _endless(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        """Until its reader is gone: then ``seen``."""
        try:
            for number in itertools.count():
                self.produced = number + 1
                yield pb.RepeatResponse(message="x" * request.times)
        finally:
            self.seen.set()

    def _cancelling(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        yield pb.RepeatResponse(message="1")
        yield pb.RepeatResponse(message="2")
        self.go_on.wait(PATIENCE_SECONDS)
        context.cancel()
        yield pb.RepeatResponse(message="never seen")

    def _waiting(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        """Sends one message and waits to be given up: then ``seen``."""
        context.add_callback(self.seen.set)
        yield pb.RepeatResponse(message="first")
        self.seen.wait(PATIENCE_SECONDS)
        self.go_on.wait(PATIENCE_SECONDS)

    def _join(self, requests: Any, context: Any) -> str:
        return " ".join(each.name for each in requests)

    def _ignore(self, requests: Any, context: Any) -> str:
        return "did not read on"

    def _sizes(self, requests: Any, context: Any) -> str:
        return str([len(each.name) for each in requests])

    def _slow(self, requests: Any, context: Any) -> str:
        self.go_on.wait(PATIENCE_SECONDS)
        return "did not read on"

    def _late(self, requests: Any, context: Any) -> str:
        """Keeps its requests for who wants to read them after the end."""
        self.requests = requests
        return "ended"

    def _outwait(self, requests: Any, context: Any) -> str:
        """Reads requests until its caller is gone: then ``seen``.

        grpcio tells that by an RpcError or by the end of the requests, as chance has it.
        """
        self.started.set()
        try:
            return self._join(requests, context)
        finally:
            self.seen.set()


POPULATE = populating(Servicer)
responses = Group(name="streams of responses", populate=POPULATE, stay=True)
requests = Group(name="streams of requests", populate=POPULATE, stay=True)
cancelling = Group(name="cancelling", populate=POPULATE)
back_pressure = Group(name="back-pressure", populate=POPULATE)
deadlines = Group(name="deadlines of streams", populate=POPULATE, without=NO_DEADLINE)
GROUPS = [responses, requests, cancelling, back_pressure, deadlines]


def _reading(name: str, times: int) -> Script:
    return lambda stand: read(greeter(stand).Repeat(repeat(name, times), timeout=PATIENCE_SECONDS))


responses.add("none", _reading("count", 0), expects={"messages": [], "call.code": "OK"})
responses.add("one", _reading("count", 1), expects={"messages[0]": "0"})
responses.add("fifty in order", _reading("count", 50), expects={"messages[49]": "49"})
responses.add("an iterator that is no generator", _reading("list", 0))
responses.add("empty ones and a big one", _reading("empty", 0))
responses.add(
    "a None is the end, as in grpcio",
    _reading("none", 0),
    expects={"messages[0]": "before", "call.code": "OK"},
)
responses.add(
    "what is no message fails the call",
    _reading("wrong", 0),
    expects={"messages[0]": "before", "call.code": "INTERNAL"},
    without=OWN_WORDS | NOT_LOOKED_AT,
)


@responses.case(expects={"": ["0", "1", "end", "end"]})
def are_iterated_by_next_too_and_stay_at_their_end(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("count", 2), timeout=PATIENCE_SECONDS)
    return [next(call).message, next(call).message, next(call, "end"), next(call, "end")]


@responses.case(without=OWN_WORDS | NOT_LOOKED_AT)
def that_failed_fail_again_when_asked_again(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("wrong"), timeout=PATIENCE_SECONDS)
    next(call)
    return [parity.told(lambda: next(call)) for _ in range(3)]


@cancelling.case(
    expects={"first": "first", "cancelled": True, "seen": True, "call.code": "CANCELLED"},
    without=READ_WHOLE,
)
def by_the_caller_ends_a_stream_at_once_for_both(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("waiting"), timeout=PATIENCE_SECONDS)
    first = next(call).message
    cancelled = call.cancel()
    outcome = {
        "first": first,
        "cancelled": cancelled,
        "again": call.cancel(),
        "end": parity.told(lambda: next(call)),
        "call": parity.ended(call),
        "seen": stand.servicer.seen.wait(PATIENCE_SECONDS),
        "active": stand.servicer.context.is_active(),
    }
    stand.servicer.go_on.set()
    return outcome


@cancelling.case(expects={"seen": True}, without=READ_WHOLE)
def by_the_caller_ends_an_endless_generator(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("endless", 10), timeout=PATIENCE_SECONDS)
    next(call)
    call.cancel()
    return {"seen": stand.servicer.seen.wait(PATIENCE_SECONDS), "call": parity.ended(call)}


@cancelling.case(expects={"": True}, without=READ_WHOLE)
def a_stream_that_nobody_holds_is_cancelled(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("waiting"), timeout=PATIENCE_SECONDS)
    next(call)
    del call
    gc.collect()
    seen = stand.servicer.seen.wait(PATIENCE_SECONDS)
    stand.servicer.go_on.set()
    return seen


@cancelling.case(expects={"messages[1]": "2", "end.code": "CANCELLED"}, without=READ_WHOLE)
def by_the_servicer_ends_the_call_after_what_it_sent(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("cancelling"), timeout=PATIENCE_SECONDS)
    messages = [next(call).message, next(call).message]
    stand.servicer.go_on.set()
    return {
        "messages": messages,
        "end": parity.told(lambda: next(call)),
        "call": parity.ended(call),
    }


@cancelling.case(expects={"seen": True}, without=NO_FUTURES)
def a_future_ends_for_a_servicer_that_reads(stand: Stand) -> Any:
    stop = threading.Event()

    def endless() -> Iterator[pb.GatherRequest]:
        yield pb.GatherRequest(name="outwait")
        stop.wait(PATIENCE_SECONDS)

    future = greeter(stand).Gather.future(endless(), timeout=PATIENCE_SECONDS)
    stand.servicer.started.wait(PATIENCE_SECONDS)
    future.cancel()
    outcome = {"seen": stand.servicer.seen.wait(PATIENCE_SECONDS), "call": parity.ended(future)}
    stop.set()
    return outcome


@deadlines.case(
    expects={"stream.messages[0]": "first", "stream.call.code": "DEADLINE_EXCEEDED", "seen": True}
)
def end_a_stream_while_its_servicer_works(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("waiting"), timeout=0.2)
    outcome = {"stream": read(call), "seen": stand.servicer.seen.wait(PATIENCE_SECONDS)}
    stand.servicer.go_on.set()
    return outcome


def _in_no_time(timeout: float) -> Script:
    def script(stand: Stand) -> Any:
        stub = greeter(stand)
        return {
            "call": parity.told(lambda: stub.SayHello(say(), timeout=timeout)),
            "stream": read(stub.Repeat(repeat("count", 3), timeout=timeout)),
            "requests": parity.told(lambda: stub.Gather(gather("join"), timeout=timeout)),
            "both": read(stub.Chat(iter([pb.ChatRequest()]), timeout=timeout)),
            "future": parity.told(stub.SayHello.future(say(), timeout=timeout).result),
        }

    return script


deadlines.add(
    "that have passed end every kind of call",
    _in_no_time(-1),
    expects={"call.code": "DEADLINE_EXCEEDED", "both.call.code": "DEADLINE_EXCEEDED"},
)
deadlines.add(
    "of no time at all end every kind of call",
    _in_no_time(0),
    without=ROUNDED,
)


def _gathering(*names: str) -> Script:
    def script(stand: Stand) -> Any:
        return greeter(stand).Gather(gather(*names), timeout=PATIENCE_SECONDS).message

    return script


requests.add("none", _gathering(), expects={"": ""})
requests.add("one", _gathering("join"), expects={"": ""})
requests.add("two in order", _gathering("join", "a", "b"), expects={"": "a b"})
requests.add("sixty", _gathering("join", *"x" * 60), expects={"": " ".join("x" * 60)})
requests.add(
    "empty ones and a big one",
    _gathering("sizes", "", "é" * MEGABYTE, ""),
    expects={"": str([0, MEGABYTE, 0])},
)
requests.add("need not be read", _gathering("ignore", "a", "b"), expects={"": "did not read on"})


@requests.case(expects={"": "a b"}, without=NO_FUTURES)
def arrive_at_a_future_too(stand: Stand) -> Any:
    future = greeter(stand).Gather.future(gather("join", "a", "b"), timeout=PATIENCE_SECONDS)
    return future.result().message


@requests.case(
    expects={"": ("ended", "nothing")},
    without=OWN_ITERATOR,
)
def are_over_for_a_servicer_that_has_answered(stand: Stand) -> Any:
    message = greeter(stand).Gather(gather("late", "a", "b"), timeout=PATIENCE_SECONDS).message
    return message, next(stand.servicer.requests, "nothing")


def _failing() -> Iterator[Any]:
    yield from ()
    raise ValueError("private")


def _sending(make: Callable[[], Any]) -> Script:
    def script(stand: Stand) -> Any:
        stub, seconds = greeter(stand), PATIENCE_SECONDS
        return {
            "unary": parity.told(lambda: stub.Gather(make(), timeout=seconds).message),
            "future": parity.told(lambda: stub.Gather.future(make(), timeout=seconds).result()),
            "stream": read(stub.Chat(make(), timeout=seconds)),
        }

    return script


for what, make in {
    "a list": lambda: [pb.ChatRequest(name="a")],
    "None": lambda: None,
    "something that is no message": lambda: iter(["no message"]),
    "a None inside": lambda: iter([None]),
    "an iterator that raises": _failing,
}.items():
    requests.add(f"{what} fails the call", _sending(make), without=OWN_ITERATOR)


@requests.case(
    expects={"": [f"{number} after {number}" for number in range(20)]}, without=READ_WHOLE
)
def and_responses_may_take_turns(stand: Stand) -> Any:
    heard: list[str] = []
    answered = threading.Semaphore(1)

    def chatting() -> Iterator[pb.ChatRequest]:
        for number in range(20):
            answered.acquire(timeout=PATIENCE_SECONDS)
            yield pb.ChatRequest(name=f"{number} after {len(heard)}")

    for response in greeter(stand).Chat(chatting(), timeout=PATIENCE_SECONDS):
        heard.append(response.message)
        answered.release()
    return heard


def _when_still(count: Callable[[], int]) -> int:
    """What ``count`` comes to when it stands still."""
    before = -1
    while count() != before or not before:
        before = count()
        threading.Event().wait(0.05)
    return before


@back_pressure.case(expects={"": True}, without=READ_WHOLE)
def stops_a_servicer_whose_reader_is_slow(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("endless", MEGABYTE), timeout=PATIENCE_SECONDS)
    next(call)
    produced = _when_still(lambda: stand.servicer.produced)
    call.cancel()
    return produced < 32


@back_pressure.case(
    expects={"": (True, "did not read on")},
    without=OWN_ITERATOR,
)
def stops_a_caller_whose_servicer_is_slow(stand: Stand) -> Any:
    taken: list[int] = []

    def many() -> Iterator[pb.GatherRequest]:
        yield pb.GatherRequest(name="slow")
        for number in range(64):
            taken.append(number)
            yield pb.GatherRequest(name="x" * MEGABYTE)

    future = greeter(stand).Gather.future(many(), timeout=PATIENCE_SECONDS)
    sent = _when_still(lambda: len(taken))
    stand.servicer.go_on.set()
    return sent < 32, future.result().message
