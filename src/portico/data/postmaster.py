"""A Postgres server that was left behind: found by its ``postmaster.pid``, checked, and stopped."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

_PROCESSES = Path("/proc")
_PATIENCE_SECONDS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
TEMPORARY_SOCKETS = "portico-postgres-"


class Postmaster(NamedTuple):
    """What a running server writes about itself into its data folder."""

    pid: int
    socket_folder: Path | None
    is_ready: bool

    @classmethod
    def of(cls, data: Path) -> Postmaster | None:
        """Read it; None when there is none, or it is only half written."""
        try:
            text = (data / "postmaster.pid").read_text()
            pid, _data, _started, _port, sockets, *rest = [*text.splitlines(), "", "", "", "", ""]
            is_ready = any(line.strip() == "ready" for line in rest)
            return cls(int(pid), Path(sockets) if sockets else None, is_ready)
        except (FileNotFoundError, ValueError):
            return None


def clear_left_behind(data: Path) -> int | None:
    """Stop what still runs on ``data`` after its program was killed; the caller holds the folder's lock.

    Answers the process id of the server that was stopped. A server is ours when its working folder
    is ``data``; a process that merely has the number of a dead server is left alone.
    """
    if (
        not _PROCESSES.is_dir()
    ):  # not Linux: Postgres itself refuses to start on data in use, and says so
        return None
    left = Postmaster.of(data)
    if left is not None and left.pid in _processes_in(data):
        _stop(left.pid)
    # Without their server the backends end by themselves, but they hold the data until they do.
    _stop_all(data)
    (data / "postmaster.pid").unlink(missing_ok=True)
    if left is None:
        return None
    remove_temporary(left.socket_folder)
    return left.pid


def remove_temporary(sockets: Path | None) -> None:
    """Remove a folder for sockets that was made among the temporary files; any other one stays."""
    temporary = Path(tempfile.gettempdir())
    if sockets and sockets.parent == temporary and sockets.name.startswith(TEMPORARY_SOCKETS):
        shutil.rmtree(sockets, ignore_errors=True)


def _stop_all(data: Path) -> None:
    for _ in range(100):
        if not _processes_in(data):
            return
        time.sleep(0.02)
    for pid in _processes_in(data):
        _signal(pid, signal.SIGKILL)
    while _processes_in(data):
        time.sleep(0.02)


def _stop(pid: int) -> None:
    for number, seconds in _PATIENCE_SECONDS:
        _signal(pid, number)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not _lives(pid):
                return
            time.sleep(0.01)
    raise RuntimeError(
        f"the Postgres server left behind as process {pid} does not stop, not even when killed"
    )


def _processes_in(data: Path) -> list[int]:
    """Processes whose working folder is ``data``: every process of a Postgres server is one."""
    real = data.resolve()
    found = []
    for process in _PROCESSES.iterdir():
        if process.name.isdigit():
            try:
                if (process / "cwd").readlink() == real:
                    found.append(int(process.name))
            except OSError:
                continue  # it ended, or belongs to someone else
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
