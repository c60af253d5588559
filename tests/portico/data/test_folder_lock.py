from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from portico.data.account import account_for
from portico.data.folder_lock import FolderInUseError, FolderLock

if TYPE_CHECKING:
    from pathlib import Path


def test_a_lock_is_had_by_one_at_a_time(tmp_path: Path) -> None:
    account = account_for(tmp_path)
    lock = FolderLock(tmp_path / "lock", account=account)
    with pytest.raises(FolderInUseError, match=f"process {os.getpid()}:"):
        FolderLock(tmp_path / "lock", account=account)

    lock.release()
    lock.release()

    FolderLock(tmp_path / "lock", account=account).release()


def test_a_copy_of_the_file_does_not_outlast_the_release(tmp_path: Path) -> None:
    """A program that another thread starts has one for a moment, between its fork and its exec."""
    account = account_for(tmp_path)
    lock = FolderLock(tmp_path / "lock", account=account)
    copy = os.dup(lock._file)
    try:
        lock.release()
        FolderLock(tmp_path / "lock", account=account).release()
    finally:
        os.close(copy)
