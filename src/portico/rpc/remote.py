"""A channel to servicers in another process, with the kernel's errors and deadlines.

Stubs over it behave as over a ``LocalChannel``: the same ``StatusError`` comes out, what is left of
the current call's time is the most a call may take, its cancellation ends the streams and futures
below it, and request id and trace go along.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import grpc

from portico.context import Call, current_or_none
from portico.errors import StatusError
from portico.rpc.interfaces import Rpc, StreamStream, StreamUnary, UnaryStream, UnaryUnary
from portico.rpc.local_calls import FOREVER_SECONDS
from portico.rpc.origin import REQUEST_ID_KEY, TRACE_KEY
from portico.rpc.status import from_rpc_error
from portico.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from portico.rpc.metadata import Metadata

_TIME_IS_UP = "Deadline Exceeded"


class RemoteChannel(grpc.Channel):
    """Wraps a gRPC channel. ``default_timeout_seconds`` bounds a unary call that nothing else bounds."""

    def __init__(
        self, channel: grpc.Channel, *, default_timeout_seconds: float | None = 10.0
    ) -> None:
        self._channel = channel
        self._default = default_timeout_seconds
        self._closed = False

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool = False,
    ) -> None:
        """As the wrapped channel."""
        self._channel.subscribe(callback, try_to_connect=try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """As the wrapped channel."""
        self._channel.unsubscribe(callback)

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> UnaryUnary:
        """The callable for a unary rpc."""
        inner = self._open().unary_unary(method, *serializers, **options)
        return _UnaryUnary(inner, self._default)

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> UnaryStream:
        """The callable for an rpc that answers with a stream."""
        return _UnaryStream(self._open().unary_stream(method, *serializers, **options), None)

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> StreamUnary:
        """The callable for an rpc that takes a stream."""
        return _StreamUnary(self._open().stream_unary(method, *serializers, **options), None)

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> StreamStream:
        """The callable for an rpc with a stream each way."""
        return _StreamStream(self._open().stream_stream(method, *serializers, **options), None)

    def close(self) -> None:
        """Close the wrapped channel."""
        self._closed = True
        self._channel.close()

    def _open(self) -> grpc.Channel:
        """The wrapped channel; ValueError once closed, where grpcio's own would end the process."""
        if self._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        return self._channel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class RemoteRpc(Rpc):
    """A remote call in progress; what it raises is a ``StatusError``."""

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return _translating(self._rpc.__next__)

    def result(self, timeout: float | None = None) -> Any:
        """The response, or the error raised; ``grpc.FutureTimeoutError`` after ``timeout`` seconds."""
        return _translating(self._rpc.result, timeout)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """The error the call ended with, if any."""
        found: Exception | None = self._rpc.exception(timeout)
        return _translated(found) if isinstance(found, grpc.RpcError) else found

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """Where the error was raised, if any."""
        found: TracebackType | None = self._rpc.traceback(timeout)
        return found

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` with this call when it has ended; at once if it has."""
        self._rpc.add_done_callback(lambda _: fn(self))

    def initial_metadata(self) -> Metadata:
        """The servicer's headers; waits for them."""
        return tuple(self._rpc.initial_metadata() or ())

    def trailing_metadata(self) -> Metadata:
        """The servicer's trailers; waits for the end of the call."""
        return tuple(self._rpc.trailing_metadata() or ())

    def code(self) -> grpc.StatusCode:
        """The status code; waits for the end of the call."""
        code: grpc.StatusCode = self._rpc.code()
        return code

    def details(self) -> str:
        """The status message, empty for OK; waits for the end of the call."""
        return _worded(self.code(), self._rpc.details())

    def is_active(self) -> bool:
        """Whether the call has not ended."""
        return bool(self._rpc.is_active())

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        left: float | None = self._rpc.time_remaining()
        return left

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have ``callback`` called when the call ends; False when it has ended already."""
        return bool(self._rpc.add_callback(callback))

    def cancel(self) -> bool:
        """Give the call up; False when it has ended already."""
        return bool(self._rpc.cancel())

    def cancel_from_above(self) -> None:
        """The call that made this one was cancelled."""
        self._rpc.cancel()

    def cancelled(self) -> bool:
        """Whether the caller gave the call up."""
        return bool(self._rpc.cancelled())

    def running(self) -> bool:
        """Whether the call has not ended."""
        return bool(self._rpc.running())

    def done(self) -> bool:
        """Whether the call has ended."""
        return bool(self._rpc.done())


class _RemoteCallable:
    """One method of the wrapped channel; grpcio's own options go on to it as they are."""

    def __init__(self, inner: Any, default_timeout_seconds: float | None) -> None:
        self._inner = inner
        self._default = default_timeout_seconds

    def _call(self, invoke: Any, request: Any, timeout: Any, metadata: Any, rest: Any) -> Any:
        """What ``invoke`` returns, called with what the current call adds to its arguments."""
        parent = current_or_none()
        if parent is None:
            allowed = self._within(timeout, None)
        else:
            allowed = self._within(timeout, parent.deadline)
            metadata = (*(metadata or ()), *_passed_on(parent))
        return _translating(invoke, request, allowed, metadata, *rest[0], **rest[1])

    def _begin(
        self, invoke: Any, request: Any, timeout: Any, metadata: Any, rest: Any
    ) -> RemoteRpc:
        rpc = RemoteRpc(self._call(invoke, request, timeout, metadata, rest))
        parent = current_or_none()
        if parent is not None:
            parent.line.has_under_way(rpc)
        return rpc

    def _within(self, timeout: float | None, deadline: float | None) -> float | None:
        left = None if deadline is None else deadline - monotonic()
        asked = [each for each in (timeout, left) if each is not None]
        chosen = min(asked) if asked else self._default
        return None if chosen is None or chosen >= FOREVER_SECONDS else chosen


class _UnaryUnary(_RemoteCallable, UnaryUnary):
    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        return self._call(self._inner, request, timeout, metadata, (more, named))

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> tuple[Any, RemoteRpc]:
        found = self._call(self._inner.with_call, request, timeout, metadata, (more, named))
        return found[0], RemoteRpc(found[1])

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> RemoteRpc:
        return self._begin(self._inner.future, request, timeout, metadata, (more, named))


class _UnaryStream(_RemoteCallable, UnaryStream):
    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> RemoteRpc:
        return self._begin(self._inner, request, timeout, metadata, (more, named))


class _StreamUnary(_RemoteCallable, StreamUnary):
    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        return self._call(self._inner, request_iterator, timeout, metadata, (more, named))

    def with_call(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> tuple[Any, RemoteRpc]:
        found = self._call(
            self._inner.with_call, request_iterator, timeout, metadata, (more, named)
        )
        return found[0], RemoteRpc(found[1])

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> RemoteRpc:
        return self._begin(self._inner.future, request_iterator, timeout, metadata, (more, named))


class _StreamStream(_RemoteCallable, StreamStream):
    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> RemoteRpc:
        return self._begin(self._inner, request_iterator, timeout, metadata, (more, named))


def _passed_on(parent: Call) -> Metadata:
    """What goes along with a call made inside ``parent``: CANCELLED when nobody waits for that one."""
    if parent.cancelled or parent.line.cancelled:
        raise StatusError(grpc.StatusCode.CANCELLED, "the calling call was cancelled")
    trace = tracing.TraceParent(parent.trace_id, tracing.new_span_id(), sampled=True)
    return (REQUEST_ID_KEY, parent.request_id), (TRACE_KEY, str(trace))


def _translating(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return call(*arguments, **options)
    except grpc.RpcError as failure:
        error = _translated(failure)
    raise error


def _translated(failure: grpc.RpcError) -> StatusError:
    error = from_rpc_error(failure)
    error.message = _worded(error.code(), error.message)
    return error


def _worded(code: grpc.StatusCode, details: str | None) -> str:
    """The message, in one wording for a time that is up: grpcio has several, by who noticed first."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and details and _TIME_IS_UP in details:
        return _TIME_IS_UP
    return details or ""
