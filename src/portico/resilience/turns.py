"""How long a thread that computes may keep the interpreter from the others, while calls are being shed.

The thread that takes calls in, and refuses them, waits for its turn behind every thread that computes:
with eight of these and Python's 5 ms a refusal takes a second. With shorter turns it takes some
milliseconds, but all that the process does costs up to a fifth more: so they are short under pressure only.
"""

from __future__ import annotations

import sys
import threading

_SHORT_SECONDS = 0.001


class Turns:
    """The process's one switch interval (``sys.setswitchinterval``), short while anybody is under pressure."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pressed = 0
        self._usual_seconds = 0.0

    def shorten(self) -> None:
        """Somebody is under pressure, until ``restore``."""
        with self._lock:
            self._pressed += 1
            if self._pressed == 1:
                self._usual_seconds = sys.getswitchinterval()
                sys.setswitchinterval(min(self._usual_seconds, _SHORT_SECONDS))

    def restore(self) -> None:
        """One who was under pressure is so no longer."""
        with self._lock:
            self._pressed -= 1
            if not self._pressed:
                sys.setswitchinterval(self._usual_seconds)


TURNS = Turns()
"""Of this process, since there is one interval in each."""
