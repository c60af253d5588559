"""The processes of a topology, each started and killed by hand: no supervisor brings them back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from emporium.app import application

_PATIENCE_SECONDS = 60
_SECRET = "known to all processes of this test"


class Part:
    """One process. ``rest`` is where its HTTP is, ``log`` what it said."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str], port: int) -> None:
        self.name = name
        self.rest = f"http://127.0.0.1:{port}"
        self._out = folder / f"{name}.out"
        self._log = folder / f"{name}.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All that it has logged, in all its lives."""
        return self._log.read_text()

    def start(self) -> None:
        """Return when it is ready."""
        with self._out.open("wb") as out, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "portico", "serve", "--demo"],
                env=self._environment,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + _PATIENCE_SECONDS
        while "is ready" not in self._out.read_text():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError(f"{self.name} does not serve:\n{self.log[-4000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """``kill -9``; nothing if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_PATIENCE_SECONDS)
            self._process = None


@contextmanager
def running(topology: str, folder: Path, database: str, **more: str) -> Iterator[dict[str, Part]]:
    """Every process of the topology, started in order, by name; killed after the block.

    ``more`` is for their environment.
    """
    names = list(application.topology(Path(topology)).processes)
    hops = {name: f"127.0.0.1:{_free_port()}" for name in names}
    with ExitStack() as stack:
        parts = {}
        for name in names:
            http = _free_port()
            environment = {
                **{key: value for key, value in os.environ.items() if "PORTICO" not in key},
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "PORTICO_APP": "emporium.app:application",
                "PORTICO_TOPOLOGY": topology,
                "PORTICO_PROCESS": name,
                "PORTICO_ADDRESSES": json.dumps(hops),
                "PORTICO_HOP_SECRET": _SECRET,
                "PORTICO_DATABASE_URL": database,
                "PORTICO_GRPC_PORT": "0",
                "PORTICO_HTTP_PORT": str(http),
                "PORTICO_LOG_LEVEL": "warning",
                "PORTICO_LOG_FORMAT": "json",
                "PORTICO_AUTH__ARGON2_PASSES": "1",
                "PORTICO_AUTH__ARGON2_MEMORY_KIB": "32",
                **more,
            }
            part = parts[name] = Part(name, folder, environment, http)
            stack.callback(part.kill)
            part.start()
        yield parts


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
