"""A process of the laboratory that is started, asked and killed by the one that measures."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any, Self, cast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType


class LabProcess:
    """Runs ``python -m MODULE ARGUMENTS`` for the block.

    The child speaks JSON, one value a line: first of itself, ``told``, and then an answer to each line on
    its stdin, with whose end it ends too. RuntimeError when it says nothing.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """It works in ``folder`` with ``environment``, unless these are to be this process's own."""
        self._command = [sys.executable, "-m", module, *arguments]
        self._name = " ".join((module, *arguments))
        self._folder = folder
        self._environment = environment
        self.told: Any = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.communicate()

    def start(self) -> None:
        """Start it, again if it was killed, and wait for what it tells of itself."""
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env=self._environment,
        )
        try:
            self.told = self.answer()
        except BaseException:
            self._child.communicate()
            raise

    def ask(self, question: str) -> Any:
        """Its answer to one line."""
        stdin = cast("IO[str]", self._child.stdin)
        stdin.write(f"{question}\n")
        stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """The next line that it says by itself."""
        line = cast("IO[str]", self._child.stdout).readline()
        if not line:
            raise RuntimeError(f"{self._name} ended or did not start")
        return json.loads(line)

    def kill(self) -> None:
        """SIGKILL: it gets no chance to say good-bye."""
        self._child.kill()
        self._child.communicate()
