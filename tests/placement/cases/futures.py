"""Futures and ``with_call``: asked for their result, called back, cancelled, dropped."""

from __future__ import annotations

import gc
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.greeting import (
    NO_FUTURES,
    PATIENCE_SECONDS,
    gather,
    greeter,
    populating,
    repeat,
    say,
    settled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.testing.transports import Stand


class Servicer(stubs.GreeterServiceServicer):
    """Answers "quick" at once, fails on "fail", and on "wait" waits to be let go or given up."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.given_up = threading.Event()

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        self._act(request.name, context)
        return pb.SayHelloResponse(message=f"hello {request.name}")

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        self._act(request.name, context)
        yield pb.RepeatResponse(message=f"hello {request.name}")

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        name = next(request_iterator).name
        self._act(name, context)
        return pb.GatherResponse(message=f"hello {name}")

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        yield from ()

    def _act(self, name: str, context: Any) -> None:
        if name == "fail":
            context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        if name == "wait":
            context.add_callback(self.given_up.set)
            self.started.set()
            self.go_on.wait(PATIENCE_SECONDS)


def _unary(stand: Stand, name: str, timeout: float = PATIENCE_SECONDS) -> Any:
    return greeter(stand).SayHello.future(say(name), timeout=timeout)


def _requests(stand: Stand, name: str, timeout: float = PATIENCE_SECONDS) -> Any:
    return greeter(stand).Gather.future(gather(name), timeout=timeout)


KINDS: dict[str, Callable[..., Any]] = {"SayHello": _unary, "Gather": _requests}
POPULATE = populating(Servicer)
futures = Group(name="futures", populate=POPULATE, without=NO_FUTURES)
with_call = Group(name="with_call", populate=POPULATE, stay=True)
GROUPS = [futures, with_call]


def _of_both_kinds(script: Callable[..., Any], **said: Any) -> None:
    """Put the script into the table, for the future of either kind of call."""
    name = getattr(script, "__name__", "").replace("_", " ").strip()
    for kind, begin in KINDS.items():
        futures.add(f"{kind} {name}", partial(script, begin=begin), expects=said)


def _tells_how_its_call_ended(stand: Stand, begin: Any) -> Any:
    future = begin(stand, "quick")
    return settled(future) | {"late callback": future.add_callback(lambda: None)}


def _tells_how_its_call_failed(stand: Stand, begin: Any) -> Any:
    future = begin(stand, "fail")
    return settled(future) | {"late callback": future.add_callback(lambda: None)}


def _that_is_asked_too_early_says_so(stand: Stand, begin: Any) -> Any:
    future = begin(stand, "wait")
    stand.servicer.started.wait(PATIENCE_SECONDS)
    outcome = {
        "result": parity.told(lambda: future.result(timeout=0.01)),
        "exception": parity.told(lambda: future.exception(timeout=0)),
        "traceback": parity.told(lambda: future.traceback(timeout=0)),
        "running": future.running(),
        "done": future.done(),
        "active": future.is_active(),
        "time is left": 0 < future.time_remaining() <= PATIENCE_SECONDS,
    }
    stand.servicer.go_on.set()
    return outcome | {"then": settled(future)}


def _is_cancelled_for_both(stand: Stand, begin: Any) -> Any:
    future = begin(stand, "wait")
    stand.servicer.started.wait(PATIENCE_SECONDS)
    outcome = {
        "cancel": future.cancel(),
        "again": future.cancel(),
        "settled": settled(future),
        "given up": stand.servicer.given_up.wait(PATIENCE_SECONDS),
    }
    stand.servicer.go_on.set()
    return outcome


def _ends_at_its_deadline_whatever_its_servicer_does(stand: Stand, begin: Any) -> Any:
    outcome = settled(begin(stand, "wait", 0.1))
    stand.servicer.go_on.set()
    return outcome


def _calls_back_at_the_deadline_though_nobody_asks(stand: Stand, begin: Any) -> Any:
    ended = threading.Event()
    future = begin(stand, "wait", 0.2)
    future.add_done_callback(lambda _: ended.set())
    told = ended.wait(PATIENCE_SECONDS) and not stand.servicer.go_on.is_set()
    stand.servicer.go_on.set()
    return told


def _is_what_callbacks_get_early_or_late(stand: Stand, begin: Any) -> Any:
    return [_callbacks(begin(stand, name)) for name in ("quick", "fail")]


def _callbacks(future: Any) -> Any:
    seen: list[tuple[str, bool]] = []
    early = threading.Event()

    def note(when: str) -> Callable[[Any], None]:
        return lambda given: seen.append((when, given is future))

    future.add_done_callback(note("early"))
    future.add_done_callback(lambda _: early.set())
    early.wait(PATIENCE_SECONDS)
    future.add_done_callback(note("late"))
    return seen


def _outlives_a_callback_that_raises(stand: Stand, begin: Any) -> Any:
    called = threading.Event()
    future = begin(stand, "wait")
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: called.set())
    stand.servicer.go_on.set()
    return {"called": called.wait(PATIENCE_SECONDS), "result": settled(future)}


def _that_nobody_holds_is_cancelled(stand: Stand, begin: Any) -> Any:
    future = begin(stand, "wait")
    stand.servicer.started.wait(PATIENCE_SECONDS)
    del future
    gc.collect()
    given_up = stand.servicer.given_up.wait(PATIENCE_SECONDS)
    stand.servicer.go_on.set()
    return given_up


_of_both_kinds(_tells_how_its_call_ended, **{"late cancel": False, "call.code": "OK"})
_of_both_kinds(_tells_how_its_call_failed, **{"call.code": "NOT_FOUND"})
_of_both_kinds(
    _that_is_asked_too_early_says_so, **{"result.raised": "FutureTimeoutError", "running": True}
)
_of_both_kinds(
    _is_cancelled_for_both,
    **{
        "settled.result.raised": "FutureCancelledError",
        "settled.call.cancelled": True,
        "given up": True,
    },
)
_of_both_kinds(
    _ends_at_its_deadline_whatever_its_servicer_does, **{"call.code": "DEADLINE_EXCEEDED"}
)
_of_both_kinds(_calls_back_at_the_deadline_though_nobody_asks, **{"": True})
_of_both_kinds(
    _is_what_callbacks_get_early_or_late, **{"": [[("early", True), ("late", True)]] * 2}
)
_of_both_kinds(_outlives_a_callback_that_raises, **{"called": True, "result.call.code": "OK"})
_of_both_kinds(_that_nobody_holds_is_cancelled, **{"": True})


@futures.case(expects={"before.done": False, "before.result.raised": "FutureTimeoutError"})
def a_stream_is_a_future_too(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("wait"), timeout=PATIENCE_SECONDS)
    stand.servicer.started.wait(PATIENCE_SECONDS)
    ended = threading.Event()
    call.add_done_callback(lambda _: ended.set())
    before = {
        "done": call.done(),
        "running": call.running(),
        "result": parity.told(lambda: call.result(timeout=0.01)),
    }
    stand.servicer.go_on.set()
    messages = [each.message for each in call]
    return {
        "before": before,
        "messages": messages,
        "ended": ended.wait(PATIENCE_SECONDS),
        "exception": call.exception(),
        "call": parity.ended(call),
    }


def _over(response: Any, call: Any) -> Any:
    return {
        "response": response.message,
        "call": parity.ended(call),
        "result": call.result().message,
        "exception": call.exception(),
        "cancel": call.cancel(),
        "callback": call.add_callback(lambda: None),
    }


@with_call.case(expects={"response": "hello quick", "call.code": "OK", "cancel": False})
def of_a_unary_call_gives_one_that_is_over(stand: Stand) -> Any:
    return _over(*greeter(stand).SayHello.with_call(say("quick"), timeout=PATIENCE_SECONDS))


@with_call.case(expects={"response": "hello quick", "call.code": "OK", "cancel": False})
def of_a_stream_of_requests_gives_one_that_is_over(stand: Stand) -> Any:
    return _over(*greeter(stand).Gather.with_call(gather("quick"), timeout=PATIENCE_SECONDS))


@with_call.case(expects={"code": "NOT_FOUND", "details": "gone"})
def raises_what_a_plain_call_raises(stand: Stand) -> Any:
    stub = greeter(stand)
    return parity.told(lambda: stub.SayHello.with_call(say("fail"), timeout=PATIENCE_SECONDS))
