"""Processes that start in no time: forked from one that has imported everything and has no thread."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from portico.testing.faults import Fault, Faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Life = Callable[[dict[str, Any], Faults], None]

_PR_SET_PDEATHSIG = 1


class Zygote:
    """Makes processes until it is closed; then all of them are killed.

    Linux alone. To be made before this process has a thread, and before anything of gRPC has run:
    a fork that comes later takes over locks that nobody opens any more.
    """

    def __init__(self, life: Life) -> None:
        """``life`` is what every child does, with what it is told; it ends with the process.

        Whatever it needs should have been imported, and nothing more have happened.
        """
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        if not (pid := os.fork()):
            ours.close()
            _die_with(parent)
            _breed(theirs, life)
        theirs.close()
        self._pid = pid
        self._orders = ours.makefile("rwb", buffering=0)
        self._lock = threading.Lock()
        ours.close()

    def fork(self, told: dict[str, Any], *, control: str) -> int:
        """A new process; its id. It connects to the Unix socket ``control``, see ``Offspring``."""
        with self._lock:
            self._orders.write(json.dumps(told | {"control": control}).encode() + b"\n")
            return int(self._orders.readline())

    def close(self) -> None:
        """End, and all children with it."""
        self._orders.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


class Offspring:
    """A process that a zygote made, as seen from outside: its orders, and what it reports."""

    def __init__(
        self,
        zygote: Zygote,
        told: dict[str, Any],
        *,
        folder: Path,
        hear: Callable[[dict[str, Any]], None],
    ) -> None:
        """``hear`` gets each report, in a thread of its own; the last one is ``{"ended": true}``.

        ``told["log"]`` is the file that takes its output.
        """
        path = folder / f"{told['name']}.control"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen(1)
            self.pid = zygote.fork(told, control=str(path))
            connection, _ = listening.accept()
        self._orders = connection.makefile("rwb", buffering=0)
        connection.close()
        self._hear = hear
        self._answered = threading.Event()
        self.ready = threading.Event()
        self.ended = threading.Event()
        threading.Thread(target=self._listen, name=f"{told['name']}-reports", daemon=True).start()

    def order(self, *faults: Fault, record: bool = False) -> None:
        """See ``Faults.order``; in force when this returns, if the process lives."""
        self._ask({"order": [fault.written() for fault in faults], "record": record})

    def go_on(self) -> None:
        """See ``Faults.go_on``."""
        self._ask({"go_on": True})

    def repeat(self) -> None:
        """See ``Faults.repeat``; what came of it is reported as ``{"repeated": […]}``."""
        self._ask({"repeat": True})

    def kill(self) -> None:
        """``kill -9``, and wait for its end."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.ended.wait()

    def _ask(self, order: dict[str, Any]) -> None:
        self._answered.clear()
        with suppress(OSError):
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._answered.wait()

    def _listen(self) -> None:
        with suppress(OSError):
            for line in self._orders:
                report = json.loads(line)
                if "answered" in report:
                    self._answered.set()
                elif "ready" in report:
                    self.ready.set()
                else:
                    self._hear(report)
        self.ended.set()
        self._answered.set()
        self.ready.set()
        self._hear({"ended": True})


def _breed(orders: socket.socket, life: Life) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    parent = os.getpid()
    with orders, orders.makefile("rwb", buffering=0) as lines:
        for line in lines:
            if not (pid := os.fork()):
                _die_with(parent)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                lines.close()
                orders.close()
                _live(json.loads(line), life)
            lines.write(b"%d\n" % pid)
    os._exit(0)


def _live(told: dict[str, Any], life: Life) -> NoReturn:
    os.setsid()
    log = os.open(told["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(log, number)
    control = socket.socket(socket.AF_UNIX)
    control.connect(told["control"])
    lines = control.makefile("rwb", buffering=0)
    lock = threading.Lock()

    def tell(report: dict[str, Any]) -> None:
        with lock:
            lines.write(json.dumps(report).encode() + b"\n")

    faults = Faults(tell)
    try:
        life(told, faults)
        tell({"ready": True})
        _obey(lines, faults, tell)
    except BaseException:  # noqa: BLE001  # whatever it is belongs into the log: nobody else hears it
        sys.excepthook(*sys.exc_info())
    os._exit(1)


def _obey(lines: Any, faults: Faults, tell: Callable[[dict[str, Any]], None]) -> None:
    for line in lines:
        order = json.loads(line)
        if "order" in order:
            faults.order((Fault(**each) for each in order["order"]), record=order["record"])
        elif "repeat" in order:
            tell({"repeated": faults.repeat()})
        else:
            faults.go_on()
        tell({"answered": True})


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
