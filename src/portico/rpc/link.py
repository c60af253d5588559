"""The connection to another process, which can be replaced while calls are under way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc


class Bound(Protocol):
    """A callable that was made from the link's channel."""

    def bind(self, channel: grpc.Channel) -> None:
        """Make it anew, from ``channel``."""


class Link:
    """Holds the gRPC channel that ``connect`` makes, and all that was made from it.

    A channel that was replaced lives on until the last call over it has ended: grpcio closes it when
    nothing holds it any more.
    """

    def __init__(self, connect: Callable[[], grpc.Channel]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._bound: WeakSet[Bound] = WeakSet()
        self._channel = connect()

    @property
    def channel(self) -> grpc.Channel:
        """The channel for calls that begin now."""
        return self._channel

    def bind(self, bound: Bound) -> None:
        """Make ``bound`` from the channel, now and after each renewal."""
        with self._lock:
            self._bound.add(bound)
            bound.bind(self._channel)

    def renew(self) -> None:
        """Connect anew for the calls that begin from now on; those under way end where they are."""
        with self._lock:
            self._channel = self._connect()
            for bound in tuple(self._bound):
                bound.bind(self._channel)

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._channel.close()
