"""Which of the processes that share a port get its new connections.

Sockets that listen on one port with ``SO_REUSEPORT`` are a group, in the order in which they began to
listen; when one is closed, the last one takes its place. The kernel spreads new connections over the
group, also to a server that is about to end: what then waits in its queue is reset. A program in the
kernel chooses among the others instead. Linux alone has that; elsewhere nothing is steered.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SO_ATTACH_REUSEPORT_CBPF = 51
_DESCRIPTORS = Path("/proc/self/fd")

# Classic BPF: code, jump if true, jump if false, operand.
_INSTRUCTION = struct.Struct("HBBI")
_PROGRAM = struct.Struct("HP")  # how many, and where they are
_LOAD_WORD, _MODULO, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x94, 0x15, 0x06
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM

_log = logs.logger("portico.rpc")


def steer(port: int, members: Sequence[int]) -> bool:
    """Give new connections on ``port`` only to these members of the group, which this process is in.

    ``members`` are places in the group, from 0. Holds until the next call; where the group has fewer
    members by then, the kernel spreads the rest over all. False where nothing could be steered.
    """
    if sys.platform != "linux" or not members:
        return False
    lines = _program(members)
    program = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*line) for line in lines))
    told = _PROGRAM.pack(len(lines), ctypes.addressof(program))
    steered = False
    for listener in _listeners(port):
        with listener:
            try:
                listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, told)
            except OSError as failure:
                _log.warning("connections are not steered", port=port, reason=failure.strerror)
            else:
                steered = True
    return steered


def _program(members: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """A random member of them: load a number, take the remainder, return what is at its place."""
    lines = [(_LOAD_WORD, 0, 0, _RANDOM), (_MODULO, 0, 0, len(members))]
    for place, member in enumerate(members[:-1]):
        lines += [(_JUMP_IF_EQUAL, 0, 1, place), (_RETURN, 0, 0, member)]
    return [*lines, (_RETURN, 0, 0, members[-1])]


def _listeners(port: int) -> Iterator[socket.socket]:
    """Copies of this process's sockets that listen on ``port``: gRPC keeps its own to itself."""
    for descriptor in [*_DESCRIPTORS.iterdir()]:
        with suppress(OSError):  # closed meanwhile, or no socket
            if not str(descriptor.readlink()).startswith("socket:"):
                continue
            found = socket.socket(fileno=os.dup(int(descriptor.name)))
            if _listens(found, port):
                yield found
            else:
                found.close()


def _listens(found: socket.socket, port: int) -> bool:
    try:
        return (
            found.family in (socket.AF_INET, socket.AF_INET6)
            and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            and found.getsockname()[1] == port
        )
    except OSError:
        return False
