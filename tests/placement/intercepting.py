"""What client interceptors of all kinds are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from examples.greeter.v1 import greeter_pb2 as pb

from portico.rpc.interfaces import Rpc

if TYPE_CHECKING:
    from collections.abc import Callable


class Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Details(Details, grpc.ClientCallDetails):
    """What an interceptor hands on."""


def changed(details: Any, **changes: Any) -> Any:
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
