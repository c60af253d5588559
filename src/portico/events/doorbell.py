"""Waking a relay in the same process, the moment an event is there to deliver."""

from __future__ import annotations

import threading

from portico.events.following import Following


class Bell:
    """Rung when there is something to deliver; one thread waits at it, any may ring."""

    def __init__(self) -> None:
        """Silent."""
        self._changed = threading.Condition()
        self._rung: set[str] = set()

    def ring(self, schema: str) -> None:
        """There are new events of ``schema``."""
        with self._changed:
            self._rung.add(schema)
            self._changed.notify()

    def wait(self, timeout_seconds: float) -> frozenset[str]:
        """The schemas it was rung for since the last answer; empty when it stayed silent for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._rung, timeout_seconds)
            rung, self._rung = frozenset(self._rung), set()
            return rung


class Doorbell(Bell):
    """Rung after a commit that published, by whoever did; the relay waits at it."""

    def __init__(self) -> None:
        """Silent, and nobody is followed."""
        super().__init__()
        self.following = Following()
