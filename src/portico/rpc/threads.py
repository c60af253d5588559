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
        self._lock = threading.Lock()

    def start(self, *works: Callable[[], None]) -> None:
        """Run each of ``works`` in a thread of its own, or none: then RESOURCE_EXHAUSTED is raised."""
        with self._lock:
            if self._running + len(works) > self._most:
                raise StatusError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{self._running} streams and futures are under way in this process, and no more may be",
                )
            self._running += len(works)
        for work in works:
            threading.Thread(
                target=self._run, args=(work,), name="portico-call", daemon=True
            ).start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._running -= 1
