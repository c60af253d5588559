"""Client interceptors of all kinds, and the arguments they may change."""

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
    NO_FUTURES,
    PATIENCE_SECONDS,
    chat,
    gather,
    greeter,
    populating,
    repeat,
    say,
)
from tests.placement.intercepting import Answer, Interceptor, changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.testing.cases import Script
    from portico.testing.transports import Stand


class Servicer(stubs.GreeterServiceServicer):
    """Fails as often as it is told to, then tells what it received."""

    def __init__(self) -> None:
        self.failures = 0
        self._lock = threading.Lock()

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        return pb.SayHelloResponse(message=self._told(request.name, context))

    def Repeat(self, request: pb.RepeatRequest, context: Any) -> Iterator[pb.RepeatResponse]:
        yield pb.RepeatResponse(message=self._told(request.name, context))

    def Gather(self, request_iterator: Any, context: Any) -> pb.GatherResponse:
        names = " ".join(each.name for each in request_iterator)
        return pb.GatherResponse(message=self._told(names, context))

    def Chat(self, request_iterator: Any, context: Any) -> Iterator[pb.ChatResponse]:
        for request in request_iterator:
            yield pb.ChatResponse(message=self._told(request.name, context))

    def _told(self, name: str, context: Any) -> str:
        with self._lock:
            self.failures -= 1
            if self.failures >= 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        pairs = parity.metadata(context.invocation_metadata())
        in_time = (
            context.time_remaining() is not None and context.time_remaining() <= 10
        )  # a wire rounds up
        return f"{name} {pairs} {'soon' if in_time else 'later'}"


def _adding_metadata(continuation: Any, details: Any, request: Any) -> Any:
    pairs = (*(details.metadata or ()), ("added", "1"))
    return continuation(changed(details, metadata=pairs, timeout=5), request)


def _retrying(continuation: Any, details: Any, request: Any) -> Any:
    for _ in range(2):
        call = continuation(details, request)
        if call.code() is not grpc.StatusCode.UNAVAILABLE:
            return call
    return continuation(details, request)


def _reading_the_outcome(continuation: Any, details: Any, request: Any) -> Any:
    call = continuation(details, request)
    call.add_done_callback(lambda _: None)
    call.exception()
    return call


def _making_it_up(continuation: Any, details: Any, request: Any) -> Any:
    return Answer()


def _raising(continuation: Any, details: Any, request: Any) -> Any:
    raise ValueError("of the interceptor")


def _sending_others(continuation: Any, details: Any, request: Any) -> Any:
    if hasattr(request, "name"):
        return continuation(details, type(request)(name="other"))
    return continuation(details, (type(each)(name=f"other {each.name}") for each in request))


AROUND = {
    "adding metadata and a timeout": _adding_metadata,
    "sending other requests": _sending_others,
    "making an answer up": _making_it_up,
    "raising": _raising,
}


def every_kind(stub: Any) -> Any:
    """A call of each kind, with metadata and a timeout of its own."""
    own: Any = {"metadata": (("own", "1"),), "timeout": PATIENCE_SECONDS}
    return {
        "call": parity.told(lambda: stub.SayHello(say("a"), **own).message),
        "with_call": parity.told(lambda: stub.SayHello.with_call(say("a"), **own)[0].message),
        "future": parity.told(lambda: stub.SayHello.future(say("a"), **own).result().message),
        "stream": parity.told(lambda: [each.message for each in stub.Repeat(repeat("a"), **own)]),
        "requests": parity.told(lambda: stub.Gather(gather("a", "b"), **own).message),
        "requests, with_call": parity.told(
            lambda: stub.Gather.with_call(gather("a", "b"), **own)[0].message
        ),
        "requests, future": parity.told(
            lambda: stub.Gather.future(gather("a", "b"), **own).result().message
        ),
        "both": parity.told(lambda: [each.message for each in stub.Chat(chat("a", "b"), **own)]),
    }


POPULATE = populating(Servicer)
interceptors = Group(name="interceptors", populate=POPULATE, stay=True, without=NO_CHANNEL)
arguments = Group(name="arguments", populate=POPULATE, stay=True)
GROUPS = [interceptors, arguments]


def _intercepted(*around: Callable[[Any, Any, Any], Any]) -> Script:
    def script(stand: Stand) -> Any:
        channel = grpc.intercept_channel(stand.channel, *map(Interceptor, around))
        return every_kind(stubs.GreeterServiceStub(channel))

    return script


def _failing_first(around: Callable[[Any, Any, Any], Any], failures: int) -> Script:
    def script(stand: Stand) -> Any:
        stand.servicer.failures = failures
        channel = grpc.intercept_channel(stand.channel, Interceptor(around))
        stub = stubs.GreeterServiceStub(channel)
        told = parity.told(lambda: stub.SayHello(say("a"), timeout=PATIENCE_SECONDS).message)
        stand.servicer.failures = 0
        return told

    return script


for name, around in AROUND.items():
    interceptors.add(f"one that is {name}", _intercepted(around))
for failures in range(4):
    interceptors.add(
        f"one that tries again after {failures} failures",
        _failing_first(_retrying, failures),
        expects={"code": "UNAVAILABLE"} if failures == 3 else {"value": "a [] later"},
    )
    interceptors.add(
        f"one that reads the outcome of {failures} failures",
        _failing_first(_reading_the_outcome, failures),
    )
interceptors.add(
    "a stack of three",
    _intercepted(_adding_metadata, _sending_others, _adding_metadata),
    expects={"call.value": "other [('own', '1'), ('added', '1'), ('added', '1')] soon"},
)


def _with_options(**options: Any) -> Script:
    def script(stand: Stand) -> Any:
        stub, seconds = greeter(stand), PATIENCE_SECONDS
        return [
            stub.SayHello(say(), timeout=seconds, **options).message,
            stub.SayHello.with_call(say(), timeout=seconds, **options)[0].message,
            [each.message for each in stub.Repeat(repeat(), timeout=seconds, **options)],
            stub.Gather(gather("a"), timeout=seconds, **options).message,
            [each.message for each in stub.Chat(chat(""), timeout=seconds, **options)],
        ]

    return script


def _future_with_options(**options: Any) -> Script:
    def script(stand: Stand) -> Any:
        future = greeter(stand).SayHello.future(say(), timeout=PATIENCE_SECONDS, **options)
        return future.result().message

    return script


OPTIONS: dict[str, dict[str, Any]] = {
    "wait_for_ready": {"wait_for_ready": True},
    "no wait_for_ready": {"wait_for_ready": False},
    "compression": {"compression": grpc.Compression.Gzip},
    "no compression": {"compression": grpc.Compression.NoCompression},
    "no credentials": {"credentials": None},
}
for name, options in OPTIONS.items():
    reason = {"servicer": "it has no time to tell, and nothing to wait for"}
    arguments.add(name, _with_options(**options), without=reason)
    arguments.add(f"{name}, of a future", _future_with_options(**options), without=NO_FUTURES)


@arguments.case(expects={"[0]": " [('a', '1')] soon"}, without=NO_CHANNEL)
def may_be_given_by_position(stand: Stand) -> Any:
    stub = greeter(stand)
    rest = (4, (("a", "1"),), None, True, None)
    return [
        stub.SayHello(say(), *rest).message,
        stub.SayHello.with_call(say(), *rest)[0].message,
        stub.SayHello.future(say(), *rest).result().message,
        [each.message for each in stub.Repeat(repeat(), *rest)],
        stub.Gather(gather(), *rest).message,
    ]
