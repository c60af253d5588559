"""The Redis of an application, and what its processes read from and write to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from portico.events.streams.carrier import StreamCarrier
from portico.events.streams.letters import Box
from portico.events.streams.presence import SILENT_SECONDS
from portico.events.streams.reader import StreamReader

if TYPE_CHECKING:
    from portico.clock import Clock
    from portico.events.reception import Reception
    from portico.security.seals import Seals

_CONNECT_SECONDS = 1.0
_SOCKET_SECONDS = 3.0  # longer than any wait that is asked for


class Streams:
    """Makes the carriers and the reader of one process. Nothing connects before they work."""

    def __init__(self, url: str, *, application: str, seals: Seals, clock: Clock) -> None:
        """``url`` is ``redis://host:port/number``, or ``rediss://`` for TLS; ValueError for another."""
        # No retries: what fails is sent again as a new request, by the lane.
        self._redis: Redis = Redis.from_url(
            url,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_SOCKET_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._application = application
        self._seals = seals
        self._clock = clock

    def carrier(self, process: str) -> StreamCarrier:
        """The way to ``process``."""
        return StreamCarrier(self._redis, self._box(process))

    def reader(
        self,
        process: str,
        reception: Reception,
        *,
        threads: int = 4,
        silent_seconds: float = SILENT_SECONDS,
    ) -> StreamReader:
        """What takes events for ``process``, which is this one, to their ``reception``; not started.

        After ``silent_seconds`` without a word from it others take what it had in hand.
        """
        return StreamReader(
            self._redis,
            self._box(process),
            reception,
            threads=threads,
            silent_seconds=silent_seconds,
        )

    def close(self) -> None:
        """Close the connections; carriers and reader are at rest by then."""
        self._redis.close()

    def _box(self, process: str) -> Box:
        return Box(self._application, process, self._seals, self._clock)
