"""A server process that ends with the program, whichever way the program ends."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

from portico.data.launcher import launched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from portico.data.account import Account

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Child:
    """A program running beside us, in a session of its own: Ctrl-C in the terminal does not reach it.

    On Linux the kernel sends it ``farewell`` when we end without stopping it, even by ``kill -9``.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        name: str,
        log: Path,
        farewell: signal.Signals,
        account: Account | None = None,
        on_exit: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Start ``command``, as ``account`` if one is given; its output is appended to ``log``.

        ``on_exit`` gets the exit code when it ends before :meth:`stop` was called.
        """
        self._command = command
        self._log = log
        self._farewell = farewell
        self._on_exit = on_exit
        self._account = account
        self._stopping = False
        self._started = threading.Event()
        self._process: subprocess.Popen[bytes]
        self._failure: BaseException | None = None
        # The kernel sends the farewell when the *thread* that started the child ends. So the child
        # gets a thread of its own, which waits for it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self, *, timeout_seconds: float, then: signal.Signals = signal.SIGKILL) -> int:
        """Send the farewell and wait; after ``timeout_seconds`` send ``then``. Answers the exit code."""
        self._stopping = True
        self._process.send_signal(self._farewell)
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            self._process.send_signal(then)
            self._thread.join()
        return self._process.returncode

    def _run(self) -> None:
        try:
            # The folder may be another user's: nobody shall lead root's writing elsewhere by a link.
            with open(os.open(self._log, _APPEND, 0o640), "ab") as log:  # noqa: PTH123
                self._process = subprocess.Popen(
                    launched(self._command, account=self._account, farewell=self._farewell),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env={"LC_ALL": "C", "TZ": "UTC"},
                    start_new_session=True,
                )
        except BaseException as failure:  # noqa: BLE001  # it is raised where the child was asked for
            self._failure = failure
            return
        finally:
            self._started.set()
        code = self._process.wait()
        if not self._stopping:
            self._on_exit(code)
