"""Where an embedded database lives: the folder it was given, or another one that stands in for it."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from portico.data.account import Account, account_for
from portico.data.binaries import open_folder
from portico.data.postmaster import TEMPORARY_SOCKETS

_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 107


@dataclass(frozen=True, kw_only=True)
class Home:
    """One database's folder, and the user whom all in it belongs to."""

    folder: Path
    account: Account

    @property
    def data(self) -> Path:
        """Postgres's own data folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What Postgres has to say."""
        return self.folder / "postgres.log"

    @property
    def major(self) -> int | None:
        """The version of Postgres that made the data; None before there are any."""
        try:
            return int((self.data / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None

    def make_socket_folder(self) -> Path:
        """An empty folder that only the account may enter, its path short enough for a Unix socket."""
        beside = self.folder / "run"
        if beside.exists():  # a killed server's lock counts as held until somebody reaps the server
            shutil.rmtree(beside)
        if len(os.fsencode(beside / _SOCKET)) <= _LONGEST_SOCKET_PATH:
            beside.mkdir(mode=0o700)
            self.account.owns(beside)
            return beside
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_SOCKETS))
        self.account.owns(temporary)
        return temporary


def make_home(folder: Path, shared_folder: Path) -> Home:
    """Make the home of the database of ``folder``: there, or below ``shared_folder``.

    It lies elsewhere when the account that must run Postgres cannot reach ``folder``. Raises
    RuntimeError when it belongs to a user whom this one cannot become.
    """
    account = account_for(folder)
    open_folder(folder.parent)
    if account.is_other and not account.enters(folder.parent):
        folder.mkdir(mode=0o700, exist_ok=True)  # holds the token alone
        folder = open_folder(shared_folder) / _token_of(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    account.owns(folder)
    owner = folder.stat().st_uid
    if owner != account.uid:
        raise RuntimeError(
            f"{folder} belongs to another user (number {owner}), who started this before: "
            "start as that user or as root, or give another folder"
        )
    return Home(folder=folder, account=account)


def _token_of(folder: Path) -> str:
    """What names the stand-in of ``folder``: it goes with the folder when that is moved or removed."""
    file = folder / "token"
    if not file.exists():
        file.write_text(secrets.token_hex(16))
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
