"""Waking a relay in the same process, the moment an event is there to deliver."""

from __future__ import annotations

import threading

from portico.events.following import Following


class Doorbell:
    """Rung after a commit that published; a relay waits at it. Any thread may do either."""

    def __init__(self) -> None:
        """Silent."""
        self.following = Following()
        self._changed = threading.Condition()
        self._rung: set[str] = set()

    def ring(self, schema: str) -> None:
        """There are new events in the outbox of ``schema``."""
        with self._changed:
            self._rung.add(schema)
            self._changed.notify()

    def wait(self, timeout_seconds: float) -> frozenset[str]:
        """The schemas it was rung for since the last answer; empty when it stayed silent for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._rung, timeout_seconds)
            rung, self._rung = frozenset(self._rung), set()
            return rung
