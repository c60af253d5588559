"""A real Postgres in a folder of the project: nothing to install, nothing to set up, gone with the program."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sqlalchemy import URL

from portico.data.account import Account, account_for
from portico.data.binaries import Binaries, find_binaries, open_folder
from portico.data.child import Child
from portico.data.folder_lock import FolderLock
from portico.data.postmaster import (
    TEMPORARY_SOCKETS,
    Postmaster,
    clear_left_behind,
    remove_temporary,
)

if TYPE_CHECKING:
    from types import TracebackType

_log = logging.getLogger(__name__)

_SHARED_FOLDER = Path("/var/lib/portico")
_SUPERUSER = "portico"
_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 107
_LARGEST_LOG_BYTES = 10 * 1024**2
_BUILTIN_LOCALE_SINCE = 17


@dataclass(frozen=True, kw_only=True)
class _Home:
    """Where one database lives. ``folder`` is the project's, or stands in for it."""

    folder: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"


class EmbeddedPostgres:
    """A Postgres server that starts and stops with this program and keeps its data in ``folder``.

    It listens on a Unix socket alone, in a folder that only its own user (and root) may enter.
    Also a context manager.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fsync: bool = True,
        max_connections: int = 100,
        shared_buffers: str = "128MB",
        start_timeout_seconds: float = 60.0,
        shared_folder: Path = _SHARED_FOLDER,
    ) -> None:
        """Nothing starts yet. ``fsync=False`` is for tests: faster, and data may be lost with the machine.

        Root cannot run Postgres: then it runs as an ordinary user, and what that user cannot reach
        (the folder, the programs) gets a place below ``shared_folder``.
        """
        self._folder = folder.absolute()
        self._fsync = fsync
        self._max_connections = max_connections
        self._shared_buffers = shared_buffers
        self._start_timeout_seconds = start_timeout_seconds
        self._shared_folder = shared_folder
        self._lock: FolderLock | None = None
        self._child: Child | None = None
        self._sockets: Path | None = None

    @property
    def url(self) -> URL:
        """Where to connect, for SQLAlchemy with psycopg. The server must have been started."""
        if self._sockets is None:
            raise RuntimeError("the embedded Postgres has not been started")
        query = {"host": str(self._sockets)}
        return URL.create(
            "postgresql+psycopg", username=_SUPERUSER, database="postgres", query=query
        )

    @property
    def pid(self) -> int:
        """Process id of the server. It must have been started."""
        if self._child is None:
            raise RuntimeError("the embedded Postgres has not been started")
        return self._child.pid

    def start(self) -> None:
        """Start the server and return when it answers; the first time it makes the database.

        A server that a killed program left behind is stopped first. Raises ``FolderInUse`` when
        another program has the folder, RuntimeError with Postgres's own words when it does not start.
        """
        if self._child is not None:
            raise RuntimeError("the embedded Postgres has been started already")
        home = self._prepare_home()
        self._lock = FolderLock(home.folder / "lock", account=home.account)
        try:
            self._start_locked(home)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server: open transactions are rolled back, committed ones are safe. Twice does nothing."""
        if self._child is not None:
            self._child.stop(timeout_seconds=20, then=signal.SIGQUIT)
            self._child = None
        remove_temporary(self._sockets)
        self._sockets = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _prepare_home(self) -> _Home:
        home = _home_for(self._folder, self._shared_folder)
        home.folder.mkdir(mode=0o700, exist_ok=True)
        home.account.owns(home.folder)
        owner = home.folder.stat().st_uid
        if owner != home.account.uid:
            raise RuntimeError(
                f"{home.folder} belongs to another user (number {owner}), who started this before: "
                "start as that user or as root, or give another folder"
            )
        if home.account.is_other:
            _log.info(
                "Postgres runs as user %s with its data in %s", home.account.name, home.folder
            )
        return home

    def _start_locked(self, home: _Home) -> None:
        stopped = clear_left_behind(home.data)
        if stopped is not None:
            _log.warning(
                "a killed program had left Postgres running or unfinished (process %d)", stopped
            )
        binaries = find_binaries(
            home.account, major=_major_of(home.data), copies=self._shared_folder
        )
        if not home.data.exists():
            _initialise(home, binaries, sync=self._fsync)
        self._sockets = _socket_folder(home)
        if home.log.exists() and home.log.stat().st_size > _LARGEST_LOG_BYTES:
            home.log.replace(home.log.with_suffix(".log.old"))
        self._child = Child(
            [binaries.folder / "postgres", "-D", home.data, "-k", self._sockets, *self._options()],
            name="portico-postgres",
            log=home.log,
            farewell=signal.SIGINT,  # Postgres's fast shutdown
            on_exit=lambda code: _log.error(
                "Postgres ended by itself (exit %d): see %s", code, home.log
            ),
            spawn_options=home.account.spawn_options(),
        )
        self._await_readiness(home)

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "max_connections": self._max_connections,
            "shared_buffers": self._shared_buffers,
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_min_messages": "warning",
            "jit": "off",  # the statements are short: compiling them costs more than it saves
        }
        if not self._fsync:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _await_readiness(self, home: _Home) -> None:
        assert self._child is not None
        until = time.monotonic() + self._start_timeout_seconds
        while time.monotonic() < until:
            if self._child.exit_code is not None:
                raise RuntimeError(f"Postgres did not start:\n{_last_lines(home.log)}")
            server = Postmaster.of(home.data)
            if server and server.is_ready and server.pid == self._child.pid:
                return
            time.sleep(0.005)
        raise RuntimeError(
            f"Postgres was not ready within {self._start_timeout_seconds:g} s:\n{_last_lines(home.log)}"
        )


def _home_for(folder: Path, shared_folder: Path) -> _Home:
    account = account_for(folder)
    open_folder(folder.parent)
    if not account.is_other or account.enters(folder.parent):
        return _Home(folder=folder, account=account)
    folder.mkdir(mode=0o700, exist_ok=True)  # holds the token alone
    return _Home(folder=open_folder(shared_folder) / _token_of(folder), account=account)


def _token_of(folder: Path) -> str:
    """What names the stand-in of ``folder``: it goes with the folder when that is moved or removed."""
    file = folder / "token"
    if not file.exists():
        file.write_text(secrets.token_hex(16))
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _major_of(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _initialise(home: _Home, binaries: Binaries, *, sync: bool) -> None:
    """Make the database in a folder beside ``data``; only a finished one gets its name."""
    unfinished = home.folder / "data.unfinished"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    command = [
        binaries.folder / "initdb",
        "-D",
        unfinished,
        "-U",
        _SUPERUSER,
        "-A",
        "trust",
        "-E",
        "UTF8",
    ]
    command += ["--data-checksums", "--no-instructions", *([] if sync else ["--no-sync"])]
    if binaries.major >= _BUILTIN_LOCALE_SINCE:
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    else:
        command += ["--locale=C"]
    made = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd="/",
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
        check=False,
        **home.account.spawn_options(),
    )
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed in {home.folder}:\n{made.stdout}{made.stderr}")
    unfinished.rename(home.data)


def _socket_folder(home: _Home) -> Path:
    beside = home.folder / "run"
    if len(os.fsencode(beside / _SOCKET)) <= _LONGEST_SOCKET_PATH:
        beside.mkdir(mode=0o700, exist_ok=True)
        home.account.owns(beside)
        return beside
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_SOCKETS))
    home.account.owns(temporary)
    return temporary


def _last_lines(log: Path, count: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
