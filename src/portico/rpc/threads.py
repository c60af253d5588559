"""The threads in which streams and futures run, bounded."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import grpc

from portico.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_THREADS = 512
"""A stream takes one, and one more when its requests are a stream; a future takes one."""


class Threads:
    """Starts threads while fewer than ``most`` of them run."""

    def __init__(self, most: int = MOST_THREADS) -> None:
        self._most = most
        self._running = 0
        self._lock = threading.RLock()  # see ``Answering``

    def start(self, *works: Callable[[], None]) -> None:
        """Run each of ``works`` in a thread of its own.

        RESOURCE_EXHAUSTED, and none of them runs, where that would be too many; where the operating
        system has no thread left, those that have begun must be told to end.
        """
        with self._lock:
            enough = self._running + len(works) <= self._most
            if enough:
                self._running += len(works)
        if not enough:
            raise _exhausted(f"{self._most} threads for streams and futures are taken")
        for begun, work in enumerate(works):
            thread = threading.Thread(
                target=self._run, args=(work,), name="portico-call", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as failure:
                self._ended(len(works) - begun)
                raise _exhausted(str(failure)) from None

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._ended(1)

    def _ended(self, threads: int) -> None:
        with self._lock:
            self._running -= threads


def _exhausted(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
