"""What a supervisor says to a process that runs already: lines of JSON on its standard input."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import orjson

from portico.rpc.steering import steer
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

_STDIN = 0
_LONGEST_LINE = 64 * 1024

_log = logs.logger("portico.supervise")


def steering(port: int, members: list[int]) -> bytes:
    """The order to give new connections on a shared port to these members of its group alone."""
    return orjson.dumps({"port": port, "members": members}) + b"\n"


def follow(at_end: Callable[[], None], *, descriptor: int = _STDIN) -> None:
    """Follow orders from now on, in a thread of its own.

    ``at_end`` is called when there is nobody any more to give any. Without a pipe there never was.
    """
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        threading.Thread(
            target=_follow, args=(at_end, descriptor), name="portico-orders", daemon=True
        ).start()


def _follow(at_end: Callable[[], None], descriptor: int) -> None:
    rest = b""
    # Not through sys.stdin: a thread that waits in it when the program ends aborts the interpreter.
    while chunk := _read(descriptor):
        *lines, rest = (rest + chunk)[-_LONGEST_LINE:].split(b"\n")
        for line in lines:
            _obey(line)
    at_end()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _LONGEST_LINE)
    except OSError:
        return b""


def _obey(line: bytes) -> None:
    try:
        order = orjson.loads(line)
        steer(int(order["port"]), [int(member) for member in order["members"]])
    except (ValueError, KeyError, TypeError):
        _log.warning("an order was not understood", order=line.decode("utf-8", "replace"))
