from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portico.supervise.child import ChildSpec
from portico.supervise.output import Output

STANDIN = Path(__file__).parent / "standin.py"
PATIENCE_SECONDS = 30


def standin(name: str, *flags: str, version: str = "", patience_seconds: float = 30) -> ChildSpec:
    return ChildSpec(
        name=name,
        command=(sys.executable, str(STANDIN), *flags),
        version=version,
        environment={**os.environ, "PYTHONUNBUFFERED": ""},
        patience_seconds=patience_seconds,
    )


class Heard:
    """An output into files, to be read while it is written."""

    def __init__(self, folder: Path) -> None:
        self._files = [folder / "out.txt", folder / "err.txt"]
        self.descriptors = [os.open(each, os.O_CREAT | os.O_WRONLY) for each in self._files]
        self.output = Output(stdout=self.descriptors[0], stderr=self.descriptors[1])

    def out(self) -> list[str]:
        return self._files[0].read_text().splitlines()

    def err(self) -> list[str]:
        return self._files[1].read_text().splitlines()

    def said_by(self, name: str) -> list[str]:
        return [
            line.removeprefix(f"{name} | ") for line in self.err() if line.startswith(f"{name} |")
        ]


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    heard = Heard(tmp_path)
    yield heard
    for descriptor in heard.descriptors:
        os.close(descriptor)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)


class Program:
    """A supervisor as a program of its own, run from a script, under signals."""

    def __init__(self, folder: Path, script: str) -> None:
        self._out, self._err = folder / "said.txt", folder / "logged.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script], cwd=STANDIN.parent, stdout=out, stderr=err
            )

    def said(self) -> str:
        return self._out.read_text()

    def logged(self) -> str:
        return self._err.read_text()

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(
            lambda: (
                (self.said() + self.logged()).count(text) >= times
                or self.process.poll() is not None
            )
        )
        assert (self.said() + self.logged()).count(text) >= times, self.logged()
