"""Waking a relay in the same process, the moment an event is there to deliver."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from portico.events.following import Following

if TYPE_CHECKING:
    from portico.events.intercom import Intercom


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
        self.intercom: Intercom | None = None
        """To the relays of other processes; the relay of this one starts and stops it."""

    def announce(self, schema: str) -> None:
        """Ring here, and wherever else a relay may be at work: events of ``schema`` were published here."""
        self.ring(schema)
        if self.intercom is not None:
            self.intercom.tell(schema)
