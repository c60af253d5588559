"""The Redis of an application, and what its processes read from and write to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import MasterDownError, ReadOnlyError
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

# Said by who was the first server until another took its place: the address leads to that one now.
_MOVED = (ReadOnlyError, MasterDownError)


class Streams:
    """Makes the carriers and the reader of one process. Nothing connects before they work."""

    def __init__(self, url: str, *, application: str, seals: Seals, clock: Clock) -> None:
        """``url`` is ``redis://host:port/number``, or ``rediss://`` for TLS; ValueError for another.

        What it may say after a ``?`` is what the driver calls options of a connection.
        """
        self._redis: Redis = Redis.from_pool(_connections(url))
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


def _connections(url: str) -> ConnectionPool:
    # How it is talked to is for who talks, whatever the address says. No retries: what fails is sent again
    # as a new request, by the lane. But a connection is closed after what a retry would be for.
    ours = {
        "decode_responses": False,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": _MOVED,
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _SOCKET_SECONDS,
    }
    parse: Any = parse_url  # untyped
    options = {**parse(url), **ours}
    try:
        pool = ConnectionPool(**options)
        pool.make_connection()  # which does not connect yet
    except TypeError as failure:
        raise ValueError(f"no such option: {failure}") from failure
    str(options.get("host", "")).encode("idna")  # else every attempt would raise it
    return pool
