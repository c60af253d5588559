"""A channel to servicers in another process, with the kernel's errors and deadlines.

Stubs over it behave as over a ``LocalChannel``: the same ``StatusError`` comes out, what is left of
the current call's time is the most a call may take, and request id and trace go along.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

from portico.context import current_or_none
from portico.errors import StatusError
from portico.rpc import metadata as headers
from portico.rpc.origin import REQUEST_ID_KEY, TRACE_KEY
from portico.rpc.status import from_rpc_error
from portico.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from portico.rpc.metadata import Metadata


class RemoteChannel(grpc.Channel):
    """Wraps a gRPC channel. ``default_timeout_seconds`` bounds a call that nothing else bounds."""

    def __init__(self, channel: grpc.Channel, *, default_timeout_seconds: float | None = 10.0) -> None:
        self._channel = channel
        self._default = default_timeout_seconds

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None = False
    ) -> None:
        """As the wrapped channel."""
        self._channel.subscribe(callback, try_to_connect=bool(try_to_connect))

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """As the wrapped channel."""
        self._channel.unsubscribe(callback)

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> grpc.UnaryUnaryMultiCallable:
        """The callable for a unary rpc."""
        return _UnaryUnary(self._channel.unary_unary(method, *serializers, **options), self._default)

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> grpc.UnaryStreamMultiCallable:
        """The callable for an rpc that answers with a stream."""
        return _UnaryStream(self._channel.unary_stream(method, *serializers, **options), None)

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> grpc.StreamUnaryMultiCallable:
        """The callable for an rpc that takes a stream."""
        return _StreamUnary(self._channel.stream_unary(method, *serializers, **options), None)

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> grpc.StreamStreamMultiCallable:
        """The callable for an rpc with a stream each way."""
        return _StreamStream(self._channel.stream_stream(method, *serializers, **options), None)

    def close(self) -> None:
        """Close the wrapped channel."""
        self._channel.close()

    def __enter__(self) -> RemoteChannel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class RemoteRpc(grpc.Call, grpc.Future):
    """A remote call in progress; what it raises is a ``StatusError``."""

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return _translating(self._rpc.__next__)

    def result(self, timeout: float | None = None) -> Any:
        return _translating(self._rpc.result, timeout)

    def exception(self, timeout: float | None = None) -> Exception | None:
        found = self._rpc.exception(timeout)
        return from_rpc_error(found) if isinstance(found, grpc.RpcError) else found

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        return self._rpc.traceback(timeout)  # type: ignore[no-any-return]

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        self._rpc.add_done_callback(lambda _: fn(self))

    def initial_metadata(self) -> Metadata:
        return tuple(self._rpc.initial_metadata() or ())

    def trailing_metadata(self) -> Metadata:
        return tuple(self._rpc.trailing_metadata() or ())

    def code(self) -> grpc.StatusCode:
        return self._rpc.code()  # type: ignore[no-any-return]

    def details(self) -> str:
        return self._rpc.details() or ""

    def is_active(self) -> bool:
        return self._rpc.is_active()  # type: ignore[no-any-return]

    def time_remaining(self) -> float | None:
        return self._rpc.time_remaining()  # type: ignore[no-any-return]

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return self._rpc.add_callback(callback)  # type: ignore[no-any-return]

    def cancel(self) -> bool:
        return bool(self._rpc.cancel())

    def cancelled(self) -> bool:
        return self._rpc.cancelled()  # type: ignore[no-any-return]

    def running(self) -> bool:
        return self._rpc.running()  # type: ignore[no-any-return]

    def done(self) -> bool:
        return self._rpc.done()  # type: ignore[no-any-return]


class _Callable:
    def __init__(self, inner: Any, default_timeout_seconds: float | None) -> None:
        self._inner = inner
        self._default = default_timeout_seconds

    def _options(self, timeout: float | None, metadata: Any) -> dict[str, Any]:
        parent = current_or_none()
        sent = () if metadata is None else headers.checked(metadata)
        if parent is None:
            return {"timeout": self._default if timeout is None else timeout, "metadata": sent}
        if parent.given_up():
            raise StatusError(grpc.StatusCode.CANCELLED, "the calling call was cancelled")
        trace = tracing.TraceParent(parent.trace_id, tracing.new_span_id(), True)
        sent = (*sent, (REQUEST_ID_KEY, parent.request_id), (TRACE_KEY, str(trace)))
        return {"timeout": self._timeout(timeout, parent.deadline), "metadata": sent}

    def _timeout(self, timeout: float | None, deadline: float | None) -> float | None:
        left = None if deadline is None else deadline - monotonic()
        asked = [each for each in (timeout, left) if each is not None]
        return min(asked) if asked else self._default


class _UnaryUnary(_Callable, grpc.UnaryUnaryMultiCallable):
    def __call__(self, request: Any, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
        return _translating(self._inner, request, **self._options(timeout, metadata), **options)

    def with_call(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> tuple[Any, grpc.Call]:
        return _translating(  # type: ignore[no-any-return]
            self._inner.with_call, request, **self._options(timeout, metadata), **options
        )

    def future(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> RemoteRpc:
        return RemoteRpc(self._inner.future(request, **self._options(timeout, metadata), **options))


class _UnaryStream(_Callable, grpc.UnaryStreamMultiCallable):
    def __call__(
        self, request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> RemoteRpc:
        return RemoteRpc(self._inner(request, **self._options(timeout, metadata), **options))


class _StreamUnary(_UnaryUnary, grpc.StreamUnaryMultiCallable):  # type: ignore[misc]  # one wire, same calls
    pass


class _StreamStream(_UnaryStream, grpc.StreamStreamMultiCallable):  # type: ignore[misc]  # one wire, same calls
    pass


def _translating(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return call(*arguments, **options)
    except grpc.RpcError as failure:
        error = from_rpc_error(failure)
    raise error
