"""Telling others that somebody reads a stream, and what of it is in whose hands."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from portico.events.streams.letters import Box

_log = logging.getLogger(__name__)

# One name for all who read: what somebody has in hand is told by how long ago it was heard of.
GROUP = CONSUMER = "portico"

SILENT_SECONDS = 3.0
"""Without a beat for so long, a reader is dead."""

STREAM_SECONDS = 24 * 3600
"""A stream goes when its process has been gone for so long."""

_BEATS = 3  # in the time after which a silent one is dead


class Presence:
    """A thread that says again and again: there is somebody, and this is still worked on."""

    def __init__(self, redis: Redis, box: Box, *, silent_seconds: float = SILENT_SECONDS) -> None:
        """``box`` is that of this process; who says nothing for ``silent_seconds`` is dead to others.

        Silent until :meth:`start`.
        """
        self._redis = redis
        self._box = box
        self._silent_ms = round(silent_seconds * 1000)
        self.beat_seconds = silent_seconds / _BEATS
        """From one time to the next."""
        self._in_hand: set[bytes] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Say so, from now until :meth:`stop`. Redis need not be there yet."""
        self._thread = threading.Thread(
            target=self._run, name="portico-events-presence", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Say no more. Twice does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            thread.join()
            self._over.clear()

    def show(self) -> None:
        """Say now that somebody reads."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.set(self._box.present, "", px=self._silent_ms)
            pipeline.expire(self._box.stream, STREAM_SECONDS)
            pipeline.execute()

    @contextmanager
    def holding(self, entry: bytes) -> Iterator[None]:
        """A block in which nobody else takes ``entry``."""
        with self._lock:
            self._in_hand.add(entry)
        try:
            yield
        finally:
            with self._lock:
                self._in_hand.discard(entry)

    def _run(self) -> None:
        is_away = False
        while not self._over.is_set():
            try:
                self._beat()
            except Exception as failure:  # noqa: BLE001  # without a word from it nothing would come any more
                if not is_away:
                    _log.warning("no events can be read from Redis: %s; they wait", failure)
                is_away = True
            else:
                if is_away:
                    _log.info("events are read from Redis again")
                is_away = False
            self._over.wait(self.beat_seconds)

    def _beat(self) -> None:
        with self._lock:
            in_hand: list[Any] = [*self._in_hand]
        self.show()
        if in_hand:
            self._claim(in_hand)

    def _claim(self, in_hand: list[Any]) -> None:
        try:
            self._redis.xclaim(
                self._box.stream, GROUP, CONSUMER, min_idle_time=0, message_ids=in_hand, justid=True
            )
        except ResponseError as failure:
            if not is_gone(failure):  # else nobody can take what was flushed away
                raise


def is_gone(failure: ResponseError) -> bool:
    """Whether there is no stream, or no group; a reader that waits is told so in other words."""
    return any(word in str(failure) for word in ("NOGROUP", "UNBLOCKED"))
