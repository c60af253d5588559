"""A program that is told to stop in the worst moment: while it holds the lock of what it waits for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import types
from typing import Any

from portico.cli import serving


class Unlucky(threading.Event):
    """Has itself interrupted."""

    def wait(self, timeout: float | None = None) -> bool:
        lock: Any = self._cond  # type: ignore[attr-defined]  # what ``wait`` holds for a moment
        with lock:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().wait(timeout)


class Program:
    """What is run; it has nothing to do."""

    settings = types.SimpleNamespace(supervised=types.SimpleNamespace(shared_ports=False))

    def start(self) -> None:
        """Nothing."""

    def greeting(self) -> str:
        return "is ready"

    def linger(self, hurry: threading.Event) -> None:
        """Nothing."""

    def stop(self) -> None:
        sys.stdout.write("stopped\n")


if __name__ == "__main__":
    events: Any = types.SimpleNamespace(Event=Unlucky, Thread=threading.Thread)
    serving.__dict__["threading"] = events
    program: Any = Program()
    serving._run(program)
