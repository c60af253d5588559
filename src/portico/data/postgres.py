"""A real Postgres in a folder of the project: nothing to install, nothing to set up, gone with the program."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sqlalchemy import URL

from portico.data.binaries import find_binaries
from portico.data.child import Child
from portico.data.cluster import SUPERUSER, make_cluster
from portico.data.folder_lock import FolderLock
from portico.data.home import Home, make_home
from portico.data.postmaster import Postmaster, clear_left_behind, remove_temporary

if TYPE_CHECKING:
    from types import TracebackType

_log = logging.getLogger(__name__)

_SHARED_FOLDER = Path("/var/lib/portico")
_LARGEST_LOG_BYTES = 10 * 1024**2


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
        max_connections: int = 200,
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
        return _url(self._sockets)

    @staticmethod
    def url_of_running(folder: Path, *, shared_folder: Path = _SHARED_FOLDER) -> URL | None:
        """Where to connect to the server that another program runs on ``folder``; None when none is ready."""
        found = Postmaster.of(make_home(folder.absolute(), shared_folder).data)
        if found is None or not found.is_ready or found.socket_folder is None:
            return None
        return _url(found.socket_folder)

    @property
    def pid(self) -> int:
        """Process id of the server. It must have been started."""
        if self._child is None:
            raise RuntimeError("the embedded Postgres has not been started")
        return self._child.pid

    def start(self) -> None:
        """Start the server and return when it answers; the first time it makes the database.

        A server that a killed program left behind is stopped first. Raises ``FolderInUseError`` when
        another program has the folder, RuntimeError with Postgres's own words when it does not start.
        """
        if self._child is not None:
            raise RuntimeError("the embedded Postgres has been started already")
        home = make_home(self._folder, self._shared_folder)
        if home.account.is_other:
            _log.info("Postgres runs as %s, its data is in %s", home.account.name, home.folder)
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

    def _start_locked(self, home: Home) -> None:
        stopped = clear_left_behind(home.data)
        if stopped is not None:
            _log.warning(
                "a killed program had left Postgres running or unfinished (process %d)", stopped
            )
        binaries = find_binaries(home.account, major=home.major, copies=self._shared_folder)
        if not home.data.exists():
            make_cluster(home, binaries, sync=self._fsync)
        self._sockets = home.make_socket_folder()
        if home.log.exists() and home.log.stat().st_size > _LARGEST_LOG_BYTES:
            home.log.replace(home.log.with_suffix(".log.old"))
        self._child = Child(
            [binaries.folder / "postgres", "-D", home.data, "-k", self._sockets, *self._options()],
            name="portico-postgres",
            log=home.log,
            farewell=signal.SIGINT,  # Postgres's fast shutdown
            account=home.account,
            on_exit=lambda code: _log.error(
                "Postgres ended by itself (exit %d): see %s", code, home.log
            ),
        )
        self._await_readiness(home, self._child)

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

    def _await_readiness(self, home: Home, child: Child) -> None:
        until = time.monotonic() + self._start_timeout_seconds
        while time.monotonic() < until:
            if child.exit_code is not None:
                raise RuntimeError(f"Postgres did not start:\n{_last_lines(home.log)}")
            server = Postmaster.of(home.data)
            if server and server.is_ready and server.pid == child.pid:
                return
            time.sleep(0.005)
        raise RuntimeError(
            f"Postgres was not ready within {self._start_timeout_seconds:g} s:\n{_last_lines(home.log)}"
        )


def _last_lines(log: Path, count: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _url(sockets: Path) -> URL:
    query = {"host": str(sockets)}
    return URL.create("postgresql+psycopg", username=SUPERUSER, database="postgres", query=query)
