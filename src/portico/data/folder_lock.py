"""A lock on a folder, so that two programs never keep a database in it at once."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from portico.data.account import Account


class FolderInUseError(RuntimeError):
    """Another program has the folder; the message names it."""


class FolderLock:
    """Held until released or until the process ends, however it ends: the kernel lets go of it."""

    def __init__(self, path: Path, *, account: Account) -> None:
        """Take the lock at once, or raise :class:`FolderInUseError`. The file says which process has it."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode().strip() or "unknown"
            os.close(self._file)
            raise FolderInUseError(
                f"{path.parent} is in use by process {holder}: stop that program, or give this one another"
                " data_folder (PORTICO_DATA_FOLDER); processes of one application share a database by database_url"
            ) from None
        account.owns(path)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another program have the folder; a second time does nothing."""
        if self._file >= 0:
            # Closing alone is not enough: a program that another thread is just starting may have a copy of the file.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = -1
