"""A channel whose services are in several places, some in this process and some in others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

import grpc

from portico.rpc.answering import call_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from portico.rpc.interfaces import StreamStream, StreamUnary, UnaryStream, UnaryUnary


class PlacedChannel(grpc.Channel):
    """Hands out the callables of whichever channel reaches a service, and is not there any more after that.

    ``reach`` gives that channel for a service's full name, a ``LocalChannel`` or one to another
    process; it is asked once for each service. They belong to whoever made them: closing this channel
    closes none of them.
    """

    def __init__(self, reach: Callable[[str], grpc.Channel]) -> None:
        self._reach = reach
        self._reached: dict[str, grpc.Channel] = {}
        self._closed = False

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> UnaryUnary:
        """The callable for a unary rpc."""
        return self._to(method).unary_unary(method, *serializers, **options)

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> UnaryStream:
        """The callable for an rpc that answers with a stream."""
        return self._to(method).unary_stream(method, *serializers, **options)

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> StreamUnary:
        """The callable for an rpc that takes a stream."""
        return self._to(method).stream_unary(method, *serializers, **options)

    def stream_stream(self, method: str, *serializers: Any, **options: Any) -> StreamStream:
        """The callable for an rpc with a stream each way."""
        return self._to(method).stream_stream(method, *serializers, **options)

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool = False,
    ) -> None:
        """Tell ``callback`` READY: a place that cannot be reached says so to the calls that need it."""
        call_all([partial(callback, grpc.ChannelConnectivity.READY)])

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Nothing is ever told again."""

    def close(self) -> None:
        """Hand out no more callables."""
        self._closed = True

    def _to(self, method: str) -> grpc.Channel:
        if self._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        service = method.strip("/").partition("/")[0]
        if service not in self._reached:
            self._reached[service] = self._reach(service)
        return self._reached[service]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
