"""What a servicer sees of its caller: the user, the module, the request, the time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.context import Identity, StepMark, entered, root
from portico.errors import unauthenticated
from portico.rpc.policy import Policy
from portico.testing import parity
from portico.testing.cases import Group
from portico.testing.transports import MODULE, NEIGHBOUR
from tests.placement.acting import POPULATE, Acting, acted
from tests.placement.greeting import (
    NO_CHANNEL,
    NO_DEADLINE,
    NO_FUTURES,
    NOT_OF_A_MODULE,
    OWN_RULES,
    PATIENCE_SECONDS,
    UNWRAPPED,
    chat,
    every_kind,
    gather,
    repeat,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.testing.transports import Stand

REQUEST_ID = "request-0001"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = f"00-{TRACE_ID}-b7ad6b7169203331-01"


def _authenticate(header: str) -> Identity:
    if header == "expired":
        raise unauthenticated("TOKEN_EXPIRED", "the token has expired")
    subject, _, roles = header.partition(" ")
    return Identity(subject, frozenset(roles.split()))


def _seen(request: Any, context: Any, servicer: Acting) -> str:
    """Who calls, for whom, with what."""
    facts = {
        "user": context.identity.subject,
        "roles": sorted(context.identity.roles),
        "caller": context.caller,
        "metadata": [tuple(pair) for pair in parity.metadata(context.invocation_metadata())],
    }
    return repr(facts)


def _user(context: Any) -> str:
    return context.identity.subject or "nobody"


def _asking_inside(metadata: Any = None) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            return _user(context)
        inner = servicer.stub.SayHello(say("inner"), metadata=metadata, timeout=5).message
        return f"{inner} in {_user(context)}"

    return act


def _signed(stand: Stand, act: Any, *tokens: str) -> str:
    metadata = tuple(("authorization", token) for token in tokens)
    stub = acted(stand, act)
    message: str = stub.SayHello(say(), metadata=metadata, timeout=PATIENCE_SECONDS).message
    return message


OWN = Policy(authenticate=_authenticate)
IN_TIME = Policy(default_timeout_seconds=10)
NO_RULES = {"servicer": "nothing asks for rights when a function is called"}
identity = Group(name="identity", populate=POPULATE, stay=True, policy=OWN, without=OWN_RULES)
caller = Group(
    name="the calling module",
    stay=True,
    populate=POPULATE,
    policy=OWN,
    without=OWN_RULES | NOT_OF_A_MODULE,
)
requests = Group(name="request and trace", populate=POPULATE, stay=True, without=OWN_RULES)
default = Group(
    name="default timeout",
    populate=POPULATE,
    stay=True,
    policy=IN_TIME,
    without=OWN_RULES | NO_DEADLINE,
)
GROUPS = [identity, caller, requests, default]


@identity.case(
    expects={
        "": "{'user': 'ann', 'roles': ['admin', 'buyer'], 'caller': '',"
        " 'metadata': [('authorization', 'ann buyer admin')]}"
    }
)
def arrives_with_its_roles(stand: Stand) -> Any:
    return _signed(stand, _seen, "ann buyer admin")


@identity.case(expects={"": "{'user': '', 'roles': [], 'caller': '', 'metadata': []}"})
def is_nobody_without_a_token(stand: Stand) -> Any:
    return _signed(stand, _seen)


@identity.case(expects={"": "first"})
def is_of_the_first_of_two_tokens(stand: Stand) -> Any:
    return _signed(stand, lambda _, context, __: _user(context), "first", "second")


@identity.case(expects={"": "nobody"}, without=NO_RULES)
def is_nobody_with_a_token_that_is_not_good_where_anybody_may_call(stand: Stand) -> Any:
    return _signed(stand, lambda _, context, __: _user(context), "expired")


@identity.case(expects={"call": "ann", "stream[1]": "ann", "requests": "ann ann", "both[1]": "ann"})
def is_known_in_every_kind_of_call(stand: Stand) -> Any:
    stub = acted(stand, lambda _, context, __: _user(context))
    own: Any = {"timeout": PATIENCE_SECONDS, "metadata": (("authorization", "ann"),)}
    return {
        "call": stub.SayHello(say(), **own).message,
        "stream": [each.message for each in stub.Repeat(repeat("", 2), **own)],
        "requests": stub.Gather(gather("", ""), **own).message,
        "both": [each.message for each in stub.Chat(chat("", ""), **own)],
    }


@identity.case(expects={"": "ann"}, without=NO_FUTURES)
def is_known_in_a_future(stand: Stand) -> Any:
    stub, metadata = (
        acted(stand, lambda _, context, __: _user(context)),
        (("authorization", "ann"),),
    )
    return stub.SayHello.future(say(), metadata=metadata, timeout=5).result().message


@identity.case(expects={"": "outer in outer"}, without=UNWRAPPED)
def is_the_same_in_a_call_inside(stand: Stand) -> Any:
    return _signed(stand, _asking_inside(), "outer")


@identity.case(expects={"": "nobody in nobody"}, without=UNWRAPPED)
def is_nobody_in_a_call_inside_one_of_nobody(stand: Stand) -> Any:
    return _signed(stand, _asking_inside())


@identity.case(expects={"": "inner in outer"}, without=UNWRAPPED)
def may_be_another_in_a_call_inside(stand: Stand) -> Any:
    return _signed(stand, _asking_inside((("authorization", "inner"),)), "outer")


@identity.case(expects={"": "nobody in outer"}, without=UNWRAPPED | NO_RULES)
def is_nobody_in_a_call_inside_with_a_token_that_is_not_good(stand: Stand) -> Any:
    return _signed(stand, _asking_inside((("authorization", "expired"),)), "outer")


@identity.case(expects={"": "['zoe', 'a,b;c:d', 'é €']"}, without=UNWRAPPED)
def goes_along_whatever_is_in_its_name_and_roles(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            return repr([context.identity.subject, *sorted(context.identity.roles)])
        context.origin.identity = Identity("zoe", frozenset({"é €", "a,b;c:d"}))
        return str(servicer.stub.SayHello(say("inner"), timeout=5).message)

    return _signed(stand, act, "zoe")


@identity.case(expects={"": ["ann", "ann", "ann ann"]}, without=UNWRAPPED)
def goes_along_with_streams_inside(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            return _user(context)
        stream = servicer.stub.Repeat(repeat("inner", 2), timeout=5)
        return ",".join(
            [
                *(each.message for each in stream),
                servicer.stub.Gather(gather("inner", "inner"), timeout=5).message,
            ]
        )

    return _signed(stand, act, "ann").split(",")


@caller.case(expects={"": "{'user': '', 'roles': [], 'caller': 'neighbour', 'metadata': []}"})
def is_told(stand: Stand) -> Any:
    acted(stand, _seen)
    return _of_neighbour(stand).SayHello(say(), timeout=PATIENCE_SECONDS).message


@caller.case(expects={"call": NEIGHBOUR, "both[1]": NEIGHBOUR})
def is_told_in_every_kind_of_call(stand: Stand) -> Any:
    acted(stand, lambda _, context, __: str(context.caller))
    return every_kind(_of_neighbour(stand))


@caller.case(expects={"": f"{MODULE} in neighbour"})
def is_the_servicers_own_in_a_call_inside(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            return str(context.caller)
        inner = servicer.stub.SayHello(say("inner"), timeout=5).message
        return f"{inner} in {context.caller}"

    acted(stand, act)
    return _of_neighbour(stand).SayHello(say(), timeout=PATIENCE_SECONDS).message


@requests.case(expects={"": f"{REQUEST_ID} {TRACE_ID}"})
def are_those_that_the_caller_names(stand: Stand) -> Any:
    metadata = (("x-request-id", REQUEST_ID), ("traceparent", TRACE))
    stub = acted(stand, lambda _, context, __: f"{context.request_id} {context.trace_id}")
    return stub.SayHello(say(), metadata=metadata, timeout=5).message


@requests.case(expects={"": f"{REQUEST_ID} {TRACE_ID}"}, without=UNWRAPPED)
def are_the_same_in_a_call_inside(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        if request.name == "inner":
            return f"{context.request_id} {context.trace_id}"
        return str(servicer.stub.SayHello(say("inner"), timeout=5).message)

    metadata = (("x-request-id", REQUEST_ID), ("traceparent", TRACE))
    return acted(stand, act).SayHello(say(), metadata=metadata, timeout=5).message


@requests.case(expects={"": (32, 32, True)}, without=UNWRAPPED)
def are_made_up_and_the_same_inside_when_nobody_names_them(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        own = f"{context.request_id} {context.trace_id}"
        if request.name == "inner":
            return own
        return f"{own} {servicer.stub.SayHello(say('inner'), timeout=5).message}"

    message = acted(stand, act).SayHello(say(), timeout=5).message.split()
    return len(message[0]), len(message[1]), message[:2] == message[2:]


def _time_left(request: Any, context: Any, servicer: Acting) -> str:
    left = context.time_remaining()
    return "none" if left is None else "ten seconds" if 1 < left <= 11 else f"{left}"


@default.case(expects={"": "ten seconds"})
def bounds_a_call_that_nothing_else_bounds(stand: Stand) -> Any:
    return acted(stand, _time_left).SayHello(say()).message


@default.case(expects={"": "none"})
def bounds_no_stream(stand: Stand) -> Any:
    return next(acted(stand, _time_left).Repeat(repeat("", 1))).message


def _of_neighbour(stand: Stand) -> Any:
    return stubs.GreeterServiceStub(stand.channel_of(NEIGHBOUR))


@caller.case(expects={"": "neighbour key/step trying"}, without=NO_CHANNEL)
def is_told_with_the_workflow_step_that_it_is_in(stand: Stand) -> Any:
    def act(request: Any, context: Any, servicer: Acting) -> str:
        step = context.step
        return f"{step.module} {step.key} {'trying' if step.trying else ''}" if step else "none"

    acted(stand, act)
    with _in_step():
        return _of_neighbour(stand).SayHello(say(), timeout=PATIENCE_SECONDS).message


@caller.case(expects={"": "none"}, without=NO_FUTURES)
def is_in_no_step_in_a_future(stand: Stand) -> Any:
    acted(stand, lambda _, context, __: "none" if context.step is None else "a step")
    with _in_step():
        future = _of_neighbour(stand).SayHello.future(say(), timeout=PATIENCE_SECONDS)
        return future.result().message


@caller.case(expects={"": "none"})
def is_in_no_step_in_a_stream(stand: Stand) -> Any:
    acted(stand, lambda _, context, __: "none" if context.step is None else "a step")
    with _in_step():
        return next(_of_neighbour(stand).Repeat(repeat("", 1), timeout=PATIENCE_SECONDS)).message


@contextmanager
def _in_step() -> Iterator[None]:
    call = root(module=NEIGHBOUR)
    call.step = StepMark(NEIGHBOUR, "key/step", trying=True)
    with entered(call):
        yield
