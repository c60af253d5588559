"""Starting a program as another user, or so that it ends with us, without any code of ours after a fork.

A program with threads that runs Python, or a library's fork handlers, in the forked child may stop or
abort there: gRPC's handlers do. So the child is a small Python of its own, which becomes what it
shall be and then turns into the program; its process id stays.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from pathlib import Path

    from portico.data.account import Account

_PR_SET_PDEATHSIG = 1

# Everything is imported before the user changes: the new one may not be able to read Python's files. The kernel
# forgets the farewell when the user changes, so that is asked for last.
_SCRIPT = f"""
import ctypes, os, sys
user, group, farewell, parent, *command = sys.argv[1:]
prctl = ctypes.CDLL(None).prctl if farewell != "0" else None
if user != "-":
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
if prctl is not None:
    prctl({_PR_SET_PDEATHSIG}, int(farewell), 0, 0, 0)
    if os.getppid() != int(parent):  # it ended before the kernel was asked
        sys.exit(1)
os.execv(command[0], command)
"""


def launched(
    command: Sequence[str | Path],
    *,
    account: Account | None,
    farewell: signal.Signals | None = None,
) -> list[str]:
    """The command line that runs ``command`` as ``account``, in no group but its own; None is whoever runs this.

    On Linux the kernel sends ``farewell`` when the thread that starts it ends, however it ends.
    """
    plain = [str(part) for part in command]
    if farewell is not None and sys.platform != "linux":
        farewell = None  # a server left behind is found and stopped by the next start
    other = account if account is not None and account.is_other else None
    if other is None and farewell is None:
        return plain
    user, group = (str(other.uid), str(other.gid)) if other is not None else ("-", "-")
    told = str(int(farewell)) if farewell is not None else "0"
    script = [sys.executable, "-I", "-S", "-c", _SCRIPT]
    return [*script, user, group, told, str(os.getpid()), *plain]
