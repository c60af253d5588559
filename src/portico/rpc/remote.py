"""A channel to servicers in another process, with the kernel's errors and deadlines.

Stubs over it behave as over a ``LocalChannel``: the same ``StatusError`` comes out, what is left of
the current call's time is the most a call may take, its cancellation ends the streams and futures
below it, and request id and trace go along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import grpc

from portico.rpc.allowance import Allowance
from portico.rpc.counted_calls import CountedCallable
from portico.rpc.departure import Departure, Sender
from portico.rpc.remote_calls import (
    RemoteStreamStream,
    RemoteStreamUnary,
    RemoteUnaryStream,
    RemoteUnaryUnary,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from portico.rpc.interfaces import StreamStream, StreamUnary, UnaryStream, UnaryUnary
    from portico.rpc.policy import Observer
    from portico.telemetry.otel.tracer import Tracer


class RemoteChannel(grpc.Channel):
    """Wraps a gRPC channel.

    ``default_timeout_seconds`` bounds a unary call that nothing else bounds; ``allowance`` says more.
    ``sender`` says which module calls; by default nobody who could prove it, so the world outside.
    ``tracer`` makes a span of each call; ``observer_of`` says where those of a path are counted.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        default_timeout_seconds: float | None = 10.0,
        allowance: Allowance | None = None,
        sender: Sender | None = None,
        tracer: Tracer | None = None,
        observer_of: Callable[[str], Observer] | None = None,
    ) -> None:
        self._channel = channel
        self._unary = allowance or Allowance(default_seconds=default_timeout_seconds)
        self._streams = self._unary.of_streams()
        self._sender = sender or Sender()
        self._tracer = tracer
        self._observer_of = observer_of
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
        inner = self._watched(method, self._open().unary_unary(method, *serializers, **options))
        return RemoteUnaryUnary(inner, self._unary, Departure(method, self._sender))

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> UnaryStream:
        """The callable for an rpc that answers with a stream."""
        inner = self._watched(
            method, self._open().unary_stream(method, *serializers, **options), kind="unary_stream"
        )
        return RemoteUnaryStream(inner, self._streams, Departure(method, self._sender))

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> StreamUnary:
        """The callable for an rpc that takes a stream."""
        inner = self._watched(
            method, self._open().stream_unary(method, *serializers, **options), kind="stream_unary"
        )
        return RemoteStreamUnary(inner, self._streams, Departure(method, self._sender))

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> StreamStream:
        """The callable for an rpc with a stream each way."""
        inner = self._watched(
            method,
            self._open().stream_stream(method, *serializers, **options),
            kind="stream_stream",
        )
        return RemoteStreamStream(inner, self._streams, Departure(method, self._sender))

    def close(self) -> None:
        """Close the wrapped channel."""
        self._closed = True
        self._channel.close()

    def _watched(self, method: str, inner: Any, *, kind: str = "unary_unary") -> Any:
        """``inner``, its calls counted and traced as far as somebody wants to know."""
        if self._observer_of is not None:
            observer = self._observer_of(f"/{method.strip('/')}")
            inner = CountedCallable(inner, observer, streams_responses=kind.endswith("stream"))
        if self._tracer is not None:
            inner = self._tracer.calling(method, inner, stream=kind != "unary_unary")
        return inner

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
