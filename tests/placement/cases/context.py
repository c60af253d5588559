"""What a servicer can rely on: its context, its isolation from caller and neighbours."""

from __future__ import annotations

import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

from portico.testing.cases import Group
from tests.placement.acting import POPULATE, acted
from tests.placement.greeting import (
    NO_DEADLINE,
    NO_FUTURES,
    NOT_COPIED,
    PATIENCE_SECONDS,
    SHARED,
    chat,
    every_kind,
    gather,
    repeat,
    say,
)

if TYPE_CHECKING:
    from portico.testing.transports import Stand
    from tests.placement.acting import Acting

_var: contextvars.ContextVar[str] = contextvars.ContextVar("test_var", default="unset")

SAME_THREAD = {"servicer": "a function that is called runs in its caller's contextvars"}
context = Group(name="the servicer's context", populate=POPULATE)
variables = Group(name="context variables", populate=POPULATE, stay=True, without=SAME_THREAD)
copies = Group(name="changed messages", populate=POPULATE, without=NOT_COPIED | SHARED)
concurrent = Group(name="concurrent calls", populate=POPULATE, stay=True)
GROUPS = [context, variables, copies, concurrent]


@context.case(expects={"": ("True", True, False, False)})
def is_active_until_the_end_and_not_after(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        servicer.kept = context
        context.add_callback(servicer.event.set)
        return str(context.is_active())

    before = acted(stand, act).SayHello(say(), timeout=PATIENCE_SECONDS).message
    ended = stand.servicer.event.wait(PATIENCE_SECONDS)
    kept = stand.servicer.kept
    return before, ended, kept.is_active(), kept.add_callback(print)


@context.case(expects={"": ("[True, True]", True)})
def calls_all_callbacks_though_one_raises(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        callbacks = (lambda: 1 / 0), servicer.event.set
        return str([context.add_callback(each) for each in callbacks])

    message = acted(stand, act).SayHello(say(), timeout=PATIENCE_SECONDS).message
    return message, stand.servicer.event.wait(PATIENCE_SECONDS)


@context.case(expects={"call": "enough", "both[1]": "enough"}, without=NO_DEADLINE)
def knows_how_much_time_is_left(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        left = context.time_remaining()
        return "enough" if 0 < left <= 2 * PATIENCE_SECONDS else f"{left}"

    return every_kind(acted(stand, act))


@context.case(expects={"call": "(None, None, None) StatusCode.OK"})
def tells_what_has_been_set_on_it(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        fresh = context.code(), context.details(), context.trailing_metadata()
        context.set_code(grpc.StatusCode.OK)
        return f"{fresh} {context.code()}"

    stub, seconds = acted(stand, act), PATIENCE_SECONDS
    return {
        "call": stub.SayHello(say(), timeout=seconds).message,
        "stream": [each.message for each in stub.Repeat(repeat("", 1), timeout=seconds)],
        "requests": stub.Gather(gather(""), timeout=seconds).message,
        "both": [each.message for each in stub.Chat(chat(""), timeout=seconds)],
    }


@variables.case(expects={"seen.call": "unset", "seen.stream[0]": "unset", "own": "the caller's"})
def cross_in_neither_direction(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        found = _var.get()
        _var.set("the servicer's")
        return found

    stub = acted(stand, act)
    token = _var.set("the caller's")
    try:
        return {"seen": every_kind(stub), "own": _var.get()}
    finally:
        _var.reset(token)


@variables.case(expects={"": "unset"})
def do_not_cross_into_a_future(stand: Stand) -> Any:
    stub = acted(stand, lambda *_: _var.get())
    token = _var.set("the caller's")
    try:
        return stub.SayHello.future(say(), timeout=PATIENCE_SECONDS).result().message
    finally:
        _var.reset(token)


@variables.case(expects={"": "unset in unset"})
def do_not_cross_into_a_call_inside_a_call(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        found = _var.get()
        if request.name == "inner":
            return found
        _var.set("the outer servicer's")
        inner = servicer.stub.SayHello(say("inner"), timeout=PATIENCE_SECONDS).message
        return f"{inner} in {found}"

    return acted(stand, act).SayHello(say(), timeout=PATIENCE_SECONDS).message


@variables.case(expects={"": ["unset", "unset+", "unset++"]})
def live_as_long_as_a_stream(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        found = _var.get()
        _var.set(found + "+")
        return found

    stub = acted(stand, act)
    return [each.message for each in stub.Repeat(repeat("", 3), timeout=PATIENCE_SECONDS)]


@copies.case(expects={"": (["mine changed"] * 4, "mine", "mine")})
def a_request_that_its_servicer_changes_stays_as_it_was(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        request.name += " changed"
        return str(request.name)

    stub, request, gathered = acted(stand, act), say("mine"), next(gather("mine"))
    messages = [
        stub.SayHello(request, timeout=PATIENCE_SECONDS).message,
        stub.SayHello.with_call(request, timeout=PATIENCE_SECONDS)[0].message,
        stub.SayHello.future(request, timeout=PATIENCE_SECONDS).result().message,
        stub.Gather(iter([gathered]), timeout=PATIENCE_SECONDS).message,
    ]
    return messages, request.name, gathered.name


@copies.case(expects={"": "mine"})
def a_request_that_its_caller_changes_stays_as_it_was_sent(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        servicer.event.wait(PATIENCE_SECONDS)
        return str(request.name)

    request = say("mine")
    future = acted(stand, act).SayHello.future(request, timeout=PATIENCE_SECONDS)
    request.name = "changed"
    stand.servicer.event.set()
    return future.result().message


@copies.case(expects={"": ("it", "it by the caller")})
def a_response_that_either_side_changes_stays_as_it_was(stand: Stand) -> Any:
    first = acted(stand, lambda *_: "it").SayHello(
        say("keep the response"), timeout=PATIENCE_SECONDS
    )
    kept = stand.servicer.kept
    first.message += " by the caller"
    after_caller = kept.message
    kept.message += " by the servicer"
    return after_caller, first.message


@copies.case(expects={"": ["a", "b"]})
def a_message_of_a_stream_that_is_sent_again_changed_is_another(stand: Stand) -> Any:
    def chatting() -> Any:
        request = next(chat(""))
        for name in "ab":
            request.name = name
            yield request

    stub = acted(stand, lambda request, *_: str(request.name))
    return [each.message for each in stub.Chat(chatting(), timeout=PATIENCE_SECONDS)]


def _for_its_name(request: Any, *_: Any) -> str:
    return f"for {request.name}"


@concurrent.case(expects={"[7].call": "for 7", "[19].both[1]": "for 19"})
def twenty_of_each_kind_do_not_mix_up(stand: Stand) -> Any:
    stub = acted(stand, _for_its_name)
    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(lambda number: every_kind(stub, str(number)), range(20)))


@concurrent.case(expects={"[0]": "for 0", "[39]": "for 39"}, without=NO_FUTURES)
def forty_futures_of_one_thread_do_not_mix_up(stand: Stand) -> Any:
    method = acted(stand, _for_its_name).SayHello
    futures = [method.future(say(str(n)), timeout=PATIENCE_SECONDS) for n in range(40)]
    return [future.result().message for future in futures]


@concurrent.case(expects={"[0]": "for 0 in for 0", "[5]": "for 5 in for 5"})
def six_calls_inside_calls_do_not_mix_up(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        name = request.name
        if name.startswith("inner "):
            return f"for {name.removeprefix('inner ')}"
        inner = servicer.stub.SayHello(say(f"inner {name}"), timeout=PATIENCE_SECONDS)
        return f"{inner.message} in for {name}"

    stub = acted(stand, act)
    with ThreadPoolExecutor(6) as pool:
        return list(
            pool.map(
                lambda n: stub.SayHello(say(str(n)), timeout=PATIENCE_SECONDS).message, range(6)
            )
        )
