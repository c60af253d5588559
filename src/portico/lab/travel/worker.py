"""``portico worker`` for one process of the application."""

from __future__ import annotations

import subprocess
import sys
from typing import IO, TYPE_CHECKING, Self, cast

from portico.lab.travel.site import TOPOLOGY

if TYPE_CHECKING:
    from types import TracebackType

    from portico.lab.travel.site import Site


class WorkerProcess:
    """Runs the command at a site for the block, and stops it as an operator would, with SIGTERM."""

    def __init__(self, site: Site, process: str) -> None:
        self._site = site
        self._process = process

    def __enter__(self) -> Self:
        options = ["--topology", TOPOLOGY, "--process", self._process]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "portico", "worker", *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._site.folder,
            env=self._site.environment,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.terminate()
        self._child.communicate()

    def await_start(self) -> None:
        """Return once it is at work. RuntimeError when it does not start."""
        if not cast("IO[str]", self._child.stdout).readline():
            raise RuntimeError(f"the worker of {self._process} did not start")
