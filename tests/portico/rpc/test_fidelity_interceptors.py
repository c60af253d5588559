"""Client interceptors of all kinds, and the arguments they may change."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as stubs

from portico.rpc.interfaces import Rpc
from portico.testing import parity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 20


class Servicer(stubs.GreeterServiceServicer):
    """Fails as often as it is told to, then tells what it received."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
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
            self._failures -= 1
            if self._failures >= 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        pairs = parity.metadata(context.invocation_metadata())
        in_time = (
            context.time_remaining() is not None and context.time_remaining() <= 10
        )  # a wire rounds up
        return f"{name} {pairs} {'soon' if in_time else 'later'}"


class Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Details(Details, grpc.ClientCallDetails):
    """What an interceptor hands on."""


def _changed(details: Any, **changes: Any) -> Any:
    same: dict[str, Any] = {name: getattr(details, name, None) for name in Details._fields}
    return _Details(**(same | changes))


class Interceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Does ``around`` to each call, of whichever kind."""

    def __init__(self, around: Callable[[Any, Any, Any], Any]) -> None:
        self._around = around

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._around(continuation, details, request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._around(continuation, details, request)

    def intercept_stream_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._around(continuation, details, request)

    def intercept_stream_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._around(continuation, details, request)


class Answer(Rpc):
    """An outcome that no servicer made."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    def details(self) -> str:
        return ""

    def initial_metadata(self) -> Any:
        return ()

    trailing_metadata = initial_metadata

    def is_active(self) -> bool:
        return False

    cancel = cancelled = running = is_active

    def done(self) -> bool:
        return True

    def time_remaining(self) -> Any:
        return None

    def add_callback(self, callback: Any) -> bool:
        return False

    def result(self, timeout: float | None = None) -> Any:
        return pb.SayHelloResponse(message="made up")

    def exception(self, timeout: float | None = None) -> Any:
        return None

    traceback = exception

    def add_done_callback(self, fn: Any) -> None:
        fn(self)

    def __iter__(self) -> Any:
        return iter([pb.SayHelloResponse(message="made up")])


def _adding_metadata(continuation: Any, details: Any, request: Any) -> Any:
    pairs = (*(details.metadata or ()), ("added", "1"))
    return continuation(_changed(details, metadata=pairs, timeout=5), request)


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


def adding(failures: int) -> Callable[[Any], None]:
    return lambda registrar: stubs.add_GreeterServiceServicer_to_server(
        Servicer(failures), registrar
    )


def every_kind(channel: grpc.Channel) -> Any:
    stub = stubs.GreeterServiceStub(channel)
    sent = (("own", "1"),)

    def options() -> dict[str, Any]:
        return {"metadata": sent, "timeout": PATIENCE_SECONDS}

    one = pb.SayHelloRequest(name="a")

    def gathered() -> Any:
        return iter([pb.GatherRequest(name="a"), pb.GatherRequest(name="b")])

    def chatted() -> Any:
        return iter([pb.ChatRequest(name="a"), pb.ChatRequest(name="b")])

    return {
        "call": parity.told(lambda: stub.SayHello(one, **options()).message),
        "with_call": parity.told(lambda: stub.SayHello.with_call(one, **options())[0].message),
        "future": parity.told(lambda: stub.SayHello.future(one, **options()).result().message),
        "stream": parity.told(
            lambda: [each.message for each in stub.Repeat(pb.RepeatRequest(name="a"), **options())]
        ),
        "requests": parity.told(lambda: stub.Gather(gathered(), **options()).message),
        "requests, with_call": parity.told(
            lambda: stub.Gather.with_call(gathered(), **options())[0].message
        ),
        "requests, future": parity.told(
            lambda: stub.Gather.future(gathered(), **options()).result().message
        ),
        "both": parity.told(lambda: [each.message for each in stub.Chat(chatted(), **options())]),
    }


@pytest.mark.parametrize("name", AROUND)
def test_an_interceptor_has_the_same_effect_on_every_kind_of_call(agree: Any, name: str) -> None:
    def script(channel: grpc.Channel) -> Any:
        return every_kind(grpc.intercept_channel(channel, Interceptor(AROUND[name])))

    agree(adding(failures=0), script)


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
@pytest.mark.parametrize("around", [_retrying, _reading_the_outcome])
def test_an_interceptor_sees_failures_as_outcomes_and_may_try_again(
    agree: Any, failures: int, around: Any
) -> None:
    def script(channel: grpc.Channel) -> Any:
        stub = stubs.GreeterServiceStub(grpc.intercept_channel(channel, Interceptor(around)))
        return parity.told(lambda: stub.SayHello(pb.SayHelloRequest(name="a"), timeout=20).message)

    agree(adding(failures), script)


def test_interceptors_stack(agree: Any) -> None:
    def script(channel: grpc.Channel) -> Any:
        stacked = grpc.intercept_channel(
            channel,
            Interceptor(_adding_metadata),
            Interceptor(_sending_others),
            Interceptor(_adding_metadata),
        )
        return every_kind(stacked)

    outcome = agree(adding(failures=0), script)

    assert outcome["call"]["value"] == "other [('own', '1'), ('added', '1'), ('added', '1')] soon"


@pytest.mark.parametrize(
    "options",
    [
        {"wait_for_ready": True},
        {"wait_for_ready": False},
        {"compression": grpc.Compression.Gzip},
        {"compression": grpc.Compression.NoCompression},
        {"credentials": None},
    ],
    ids=str,
)
def test_grpcs_other_arguments_are_taken(agree: Any, options: Any) -> None:
    def script(channel: grpc.Channel) -> Any:
        stub = stubs.GreeterServiceStub(channel)
        requests = [pb.GatherRequest(name="a")]
        return [
            stub.SayHello(pb.SayHelloRequest(), timeout=20, **options).message,
            stub.SayHello.with_call(pb.SayHelloRequest(), timeout=20, **options)[0].message,
            stub.SayHello.future(pb.SayHelloRequest(), timeout=20, **options).result().message,
            [each.message for each in stub.Repeat(pb.RepeatRequest(), timeout=20, **options)],
            stub.Gather(iter(requests), timeout=20, **options).message,
            [each.message for each in stub.Chat(iter([pb.ChatRequest()]), timeout=20, **options)],
        ]

    agree(adding(failures=0), script)


def test_arguments_may_be_given_by_position(agree: Any) -> None:
    def script(channel: grpc.Channel) -> Any:
        stub = stubs.GreeterServiceStub(channel)
        rest = (4, (("a", "1"),), None, True, None)
        return [
            stub.SayHello(pb.SayHelloRequest(), *rest).message,
            stub.SayHello.with_call(pb.SayHelloRequest(), *rest)[0].message,
            stub.SayHello.future(pb.SayHelloRequest(), *rest).result().message,
            [each.message for each in stub.Repeat(pb.RepeatRequest(), *rest)],
            stub.Gather(iter(()), *rest).message,
        ]

    outcome = agree(adding(failures=0), script)

    assert outcome[0] == " [('a', '1')] soon"
