"""A channel whose calls pass a guard on their way to another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import grpc

from portico.rpc.guarded_calls import (
    GuardedStreamStream,
    GuardedStreamUnary,
    GuardedUnaryStream,
    GuardedUnaryUnary,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from portico.rpc.guard import Guard
    from portico.rpc.interfaces import StreamStream, StreamUnary, UnaryStream, UnaryUnary
    from portico.rpc.link import Link


class GuardedChannel(grpc.Channel):
    """Calls over ``link``; ``guard`` says which guard an rpc's path has. Closing it leaves the link open.

    ``most_seconds`` is what the edge allows a unary call.
    """

    def __init__(
        self, link: Link, guard: Callable[[str], Guard], *, most_seconds: float | None = None
    ) -> None:
        self._link = link
        self._guard = guard
        self._most_seconds = most_seconds

    def unary_unary(self, method: str, *more: Any, **options: Any) -> UnaryUnary:
        """The callable for a unary rpc."""
        return GuardedUnaryUnary(
            self._link,
            self._guard(method),
            lambda channel: channel.unary_unary(method, *more, **options),
            most_seconds=self._most_seconds,
        )

    def unary_stream(self, method: str, *more: Any, **options: Any) -> UnaryStream:
        """The callable for an rpc that answers with a stream."""
        return GuardedUnaryStream(
            self._link,
            self._guard(method),
            lambda channel: channel.unary_stream(method, *more, **options),
        )

    def stream_unary(self, method: str, *more: Any, **options: Any) -> StreamUnary:
        """The callable for an rpc that takes a stream."""
        return GuardedStreamUnary(
            self._link,
            self._guard(method),
            lambda channel: channel.stream_unary(method, *more, **options),
        )

    def stream_stream(self, method: str, *more: Any, **options: Any) -> StreamStream:
        """The callable for an rpc with a stream each way."""
        return GuardedStreamStream(
            self._link,
            self._guard(method),
            lambda channel: channel.stream_stream(method, *more, **options),
        )

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool = False,
    ) -> None:
        """As the link's channel of this moment."""
        self._link.channel.subscribe(callback, try_to_connect=try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """As the link's channel of this moment."""
        self._link.channel.unsubscribe(callback)

    def close(self) -> None:
        """Nothing: the link belongs to whoever made it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
