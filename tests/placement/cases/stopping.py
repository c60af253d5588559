"""Streams that end early: given up by either side, out of time, or held back by a slow reader."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2 as pb

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.greeting import (
    MEGABYTE,
    NO_DEADLINE,
    NO_FUTURES,
    OWN_ITERATOR,
    PATIENCE_SECONDS,
    READ_WHOLE,
    ROUNDED,
    gather,
    greeter,
    read,
    repeat,
    say,
)
from tests.placement.streaming import POPULATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.testing.cases import Script
    from portico.testing.transports import Stand

MOST = 150
"""Messages of a megabyte, of which no connection would hold all."""

cancelling = Group(name="cancelling", populate=POPULATE)
back_pressure = Group(name="back-pressure", populate=POPULATE)
deadlines = Group(name="deadlines of streams", populate=POPULATE, without=NO_DEADLINE)
GROUPS = [cancelling, back_pressure, deadlines]


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
        "late callback": stand.servicer.context.add_callback(lambda: None),
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
    stub = greeter(stand)
    stub.SayHello(say(), timeout=PATIENCE_SECONDS)  # connects
    call = stub.Repeat(repeat("waiting"), timeout=0.3)
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


def _stands_still(count: Callable[[], int]) -> bool:
    """Whether ``count`` stops before ``MOST``: each connection on the way holds a few megabytes."""
    before = -1
    while (now := count()) < MOST:
        if now == before and now:
            return True
        before = now
        threading.Event().wait(0.05)
    return False


@back_pressure.case(expects={"": True}, without=READ_WHOLE)
def stops_a_servicer_whose_reader_is_slow(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("endless", MEGABYTE), timeout=PATIENCE_SECONDS)
    next(call)
    still = _stands_still(lambda: stand.servicer.produced)
    call.cancel()
    return still


@back_pressure.case(
    expects={"": (True, "did not read on")},
    without=OWN_ITERATOR,
)
def stops_a_caller_whose_servicer_is_slow(stand: Stand) -> Any:
    taken: list[int] = []

    def many() -> Iterator[pb.GatherRequest]:
        yield pb.GatherRequest(name="slow")
        for number in range(MOST):
            taken.append(number)
            yield pb.GatherRequest(name="x" * MEGABYTE)

    future = greeter(stand).Gather.future(many(), timeout=PATIENCE_SECONDS)
    still = _stands_still(lambda: len(taken))
    stand.servicer.go_on.set()
    return still, future.result().message
