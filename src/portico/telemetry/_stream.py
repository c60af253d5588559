"""Writing whole lines to a file descriptor without ever waiting long for its reader."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A pipe that polls as writable takes this much without blocking (PIPE_BUF on Linux).
_CHUNK_BYTES = 4096
_PATIENCE_MS = 100


class LineStream:
    """Lines to a descriptor, in order and never torn, dropped while nobody reads them.

    When the reader of a pipe or a terminal stops reading, a tenth of a second is spent waiting for
    it, once. After that lines are dropped until there is room again; then a line says how many are
    missing. There is no queue and no thread: but for the one line that may be half-way through when
    the reader stops, what ``write`` accepted survives a ``kill -9`` of this process.
    """

    def __init__(self, descriptor: int, *, gap: Callable[[int], bytes]) -> None:
        """``gap(n)`` makes the line that says that n lines are missing."""
        self._descriptor = descriptor
        self._gap = gap
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        # Re-entrant: a signal handler that logs runs on top of the main thread's own line.
        self._lock = threading.RLock()
        self._rest = b""
        self._missing = 0
        self._stalled = False

    def write(self, line: bytes) -> bool:
        """Write one line, given without its end. False when it was dropped."""
        with self._lock:
            if not self._flush():
                self._missing += 1
                return False
            if self._missing:
                line = self._gap(self._missing) + b"\n" + line
                self._missing = 0
            self._rest = line + b"\n"
            self._flush()
            return True

    def _flush(self) -> bool:
        """Write what is left over as far as it goes without waiting; whether nothing is left."""
        while self._rest:
            self._stalled = not self._poll.poll(0 if self._stalled else _PATIENCE_MS)
            if self._stalled:
                return False
            try:
                written = os.write(self._descriptor, self._rest[:_CHUNK_BYTES])
            except BlockingIOError:  # somebody made the descriptor non-blocking
                self._stalled = True
                return False
            except OSError:  # the reader is gone for good: there is nobody to tell
                written = len(self._rest)
            self._rest = self._rest[written:]
        return True
