"""A bulkhead: one target may hold so many of this process's calls and no more."""

from __future__ import annotations

import threading


class Bulkhead:
    """Counts calls in flight and lets no more than ``most`` be so. Thread-safe; nobody waits."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.in_flight = 0
        self.refused = 0
        """Calls that found it full, so far."""
        self._lock = threading.RLock()  # see ``CircuitBreaker``

    def enter(self) -> bool:
        """Whether there is room for one more call; if so it is taken until ``leave``."""
        with self._lock:
            if self.in_flight >= self.most:
                self.refused += 1
                return False
            self.in_flight += 1
            return True

    def leave(self) -> None:
        """A call that entered has ended."""
        with self._lock:
            self.in_flight -= 1
