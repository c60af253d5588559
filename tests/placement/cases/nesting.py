"""Calls made inside calls, over the same transport: their time, their cancellation, their errors."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico import errors
from portico.testing import parity
from portico.testing.cases import Group
from portico.testing.transports import MODULE
from tests.placement.acting import POPULATE, acted
from tests.placement.greeting import (
    NO_DEADLINE,
    NO_FUTURES,
    PATIENCE_SECONDS,
    UNWRAPPED,
    greeter,
    repeat,
    say,
)

if TYPE_CHECKING:
    from portico.testing.transports import Stand
    from tests.placement.acting import Acting

nested = Group(name="calls inside calls", populate=POPULATE, stay=True)
cancelled = Group(name="cancelling of calls inside calls", populate=POPULATE, without=UNWRAPPED)
deadlines = Group(name="deadlines", populate=POPULATE, without=NO_DEADLINE)
GROUPS = [nested, cancelled, deadlines]


@nested.case(expects={"": "5 4 3 2 1 bottom"})
def may_come_back_to_the_same_servicer(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        depth = int(request.name)
        if depth == 0:
            return "bottom"
        inner = servicer.stub.SayHello(say(str(depth - 1)), timeout=PATIENCE_SECONDS)
        return f"{depth} {inner.message}"

    return acted(stand, act).SayHello(say("5"), timeout=PATIENCE_SECONDS).message


@nested.case(
    expects={
        "code": "RESOURCE_EXHAUSTED",
        "details": "from far below",
        "trailing[0]": ("outer", "1"),
    },
    without=UNWRAPPED,
)
def hand_an_error_on_that_nobody_catches(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            context.set_trailing_metadata((("inner", "1"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "from far below")
        context.set_trailing_metadata((("outer", "1"),))
        return str(servicer.stub.SayHello(say("inner")).message)

    return parity.told(lambda: acted(stand, act).SayHello(say(), timeout=5).message)


@nested.case(
    expects={"reason": "TOO_MUCH", "metadata.most": "3", "violations[0]": ("name", "is long", "x")},
    without=UNWRAPPED,
)
def hand_a_typed_error_on_as_it_is(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            violations = [errors.Violation("name", "is long", "x")]
            raise errors.invalid_argument("TOO_MUCH", "no", violations=violations, most=3)
        return str(servicer.stub.SayHello(say("inner")).message)

    return parity.told(lambda: acted(stand, act).SayHello(say(), timeout=5).message)


@nested.case(
    expects={"value": "NOT_FOUND GONE {'what': 'it'} gone"},
    without={"plain": "grpcio says UNKNOWN where the kernel has a typed error"},
)
def have_errors_that_their_caller_can_catch_and_read(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            raise errors.not_found("GONE", "gone", what="it")
        try:
            return str(servicer.stub.SayHello(say("inner"), timeout=5).message)
        except grpc.RpcError as caught:
            told = parity.failure(caught)
            return f"{told['code']} {told['reason']} {told['metadata']} {told['details']}"

    return parity.told(lambda: acted(stand, act).SayHello(say(), timeout=5).message)


@cancelled.case(expects={"": (True, "CANCELLED")}, without=NO_FUTURES)
def happens_with_the_call_around_them(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            context.add_callback(servicer.event.set)
            servicer.started.set()
            servicer.event.wait(PATIENCE_SECONDS)
            return ""
        call = servicer.stub.Repeat(repeat("inner", 1))
        servicer.kept = call
        return str(parity.told(lambda: next(call).message))

    future = acted(stand, act).SayHello.future(say(), timeout=PATIENCE_SECONDS)
    stand.servicer.started.wait(PATIENCE_SECONDS)
    future.cancel()
    return stand.servicer.event.wait(PATIENCE_SECONDS), stand.servicer.kept.code().name


def _connected(stand: Stand, act: Any) -> Any:
    """The stub of ``acted``, whose first call does not spend its time on connecting."""
    for stub in (greeter(stand), stubs.GreeterServiceStub(stand.channel_of(MODULE))):
        stub.SayHello(say(), timeout=PATIENCE_SECONDS)
    return acted(stand, act)


@deadlines.case(expects={"": "no more no more no more no more"}, without=UNWRAPPED)
def calls_inside_have_no_more_time_than_the_call_around_them(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            left = context.time_remaining()
            return "no more" if left is not None and left <= 6 else f"{left} s"
        answers = (
            servicer.stub.SayHello(say("inner")),
            servicer.stub.SayHello(say("inner"), timeout=60),
            servicer.stub.SayHello.future(say("inner"), timeout=60).result(),
            next(servicer.stub.Repeat(repeat("inner", 1), timeout=60)),
        )
        return " ".join(each.message for each in answers)

    return _connected(stand, act).SayHello(say(), timeout=5).message


@deadlines.case(expects={"call.code": "DEADLINE_EXCEEDED", "reached": 0}, without=UNWRAPPED)
def calls_inside_fail_at_once_when_the_time_around_them_is_up(stand: Stand) -> Any:
    reached = []

    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            reached.append(request)
            return ""
        while context.time_remaining() > 0:
            threading.Event().wait(0.01)
        return str(parity.told(lambda: servicer.stub.SayHello(say("inner"))))

    stub = _connected(stand, act)
    told = parity.told(lambda: stub.SayHello(say(), timeout=0.2).message)
    return {"call": told, "reached": len(reached)}


def _outwaiting(context: Any, servicer: Acting) -> str:
    """What is done when the call is over for its caller."""
    while context.is_active():
        threading.Event().wait(0.005)
    servicer.event.set()
    return "too late"


@deadlines.case(expects={"call.code": "DEADLINE_EXCEEDED", "seen": True})
def end_a_call_while_its_servicer_works(stand: Stand) -> Any:
    stub = _connected(stand, lambda _, context, servicer: _outwaiting(context, servicer))
    told = parity.told(lambda: stub.SayHello(say(), timeout=0.2).message)
    return {"call": told, "seen": stand.servicer.event.wait(PATIENCE_SECONDS)}


@deadlines.case(expects={"call.code": "DEADLINE_EXCEEDED", "seen": True})
def end_a_future_while_its_servicer_works(stand: Stand) -> Any:
    stub = _connected(stand, lambda _, context, servicer: _outwaiting(context, servicer))
    told = parity.told(lambda: stub.SayHello.future(say(), timeout=0.2).result().message)
    return {"call": told, "seen": stand.servicer.event.wait(PATIENCE_SECONDS)}


@deadlines.case(expects={"call.code": "DEADLINE_EXCEEDED", "seen": True}, without=UNWRAPPED)
def end_a_call_while_one_inside_it_works(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            return _outwaiting(context, servicer)
        return str(servicer.stub.SayHello(say("inner")).message)

    stub = _connected(stand, act)
    told = parity.told(lambda: stub.SayHello(say(), timeout=0.3).message)
    return {"call": told, "seen": stand.servicer.event.wait(PATIENCE_SECONDS)}


@deadlines.case(expects={"": "DEADLINE_EXCEEDED, and time is left"})
def of_a_call_inside_are_its_own_when_they_are_shorter(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            return _outwaiting(context, servicer)
        told = parity.told(lambda: servicer.stub.SayHello(say("inner"), timeout=0.2).message)
        left = "time is left" if context.time_remaining() > 1 else "no time is left"
        return f"{told['code']}, and {left}"

    return _connected(stand, act).SayHello(say(), timeout=PATIENCE_SECONDS).message
