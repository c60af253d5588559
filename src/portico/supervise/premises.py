"""What the processes of one supervisor share on this machine: ports, sockets, a database, a secret, a folder."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from portico.supervise.ports import ListeningSocket, ReservedPort

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from types import TracebackType

    from portico.app import Application
    from portico.data import EmbeddedPostgres
    from portico.module import Module
    from portico.settings import Settings
    from portico.topology import Process

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SECRET_BYTES = 32
# A change runs old and new at the same time; below, a Postgres of today gains nothing.
_CONNECTIONS_TWICE = 2
_LEAST_CONNECTIONS = 200
_FURTHER_CONNECTIONS = 20


class Premises:
    """Taken when they are first asked for, and kept while their process is wanted. Also a context manager."""

    def __init__(
        self, application: Application, settings: Settings, *, probes_port: int = 0
    ) -> None:
        """Nothing is taken yet. ``probes_port`` is for a process that clients do not come to; 0 is any."""
        self.secret = (
            secrets.token_urlsafe(_SECRET_BYTES)
            if settings.hop_secret is None
            else settings.hop_secret.get_secret_value()
        )
        self.database_url: str | None = None
        """Where the embedded database is, once it has been started."""
        self._probes_port = probes_port
        self._application = application
        self._settings = settings
        self._stack = ExitStack()
        self._database: EmbeddedPostgres | None = None
        self._folder: Path | None = None
        self._taken: tuple[ReservedPort, ListeningSocket] | None = None
        self._hops: dict[tuple[str, str, int], ReservedPort] = {}
        self._probes: dict[str, ListeningSocket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """A folder for this run alone, which nobody else may enter."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="portico-run-"))
            self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def grpc(self, process: Process) -> ReservedPort | None:
        """Where clients call a front; None for another process. OSError when somebody has the port."""
        return self._public()[0] if process.front else None

    def http(self, process: Process) -> ListeningSocket:
        """REST for the clients of a front; for another process what answers probes and scrapes."""
        if process.front:
            return self._public()[1]
        if process.name not in self._probes:
            self._probes[process.name] = ListeningSocket(
                host=self._settings.http_host, port=self._probes_port
            )
        return self._probes[process.name]

    def hop(self, process: Process, replica: int) -> ReservedPort:
        """Where other processes call this one: at the address that it has, if that is on this machine."""
        key = (process.name, process.address, replica)
        if key not in self._hops:
            port = _own_port(process.address) if replica == 1 else 0
            self._hops[key] = ReservedPort(
                host=self._settings.hop_host, port=port, setting="another address in the topology"
            )
        return self._hops[key]

    def metrics(self, process: Process) -> Path:
        """The folder in which the workers of a process find each other's metrics."""
        folder = self.folder / process.name
        folder.mkdir(exist_ok=True)
        return folder

    def keep(self, wanted: Collection[Process]) -> None:
        """Give up what belongs to other processes than these."""
        addresses = {(process.name, process.address): process.replicas for process in wanted}
        for key in [*self._hops]:
            if key[2] > addresses.get(key[:2], 0):
                self._hops.pop(key).close()
        for name in self._probes.keys() - {process.name for process in wanted}:
            self._probes.pop(name).close()

    def open_database(self, modules: Sequence[Module], *, connections: int) -> None:
        """Start the embedded database, for so many connections, and bring its schemas up to date.

        When it runs already, only the latter. Raises FolderInUseError, MigrationError, RuntimeError.
        """
        from portico.data import EmbeddedPostgres, migrations

        if self._database is None:
            self._database = self._stack.enter_context(
                EmbeddedPostgres(
                    self._settings.data_folder / "postgres",
                    max_connections=max(
                        connections * _CONNECTIONS_TWICE + _FURTHER_CONNECTIONS, _LEAST_CONNECTIONS
                    ),
                )
            )
        url = self._database.url
        migrations.upgrade(
            url,
            [module.name for module in modules if module.owns_data],
            folder=self._application.migrations,
        )
        self.database_url = url.render_as_string(hide_password=False)

    def _public(self) -> tuple[ReservedPort, ListeningSocket]:
        if self._taken is None:
            settings = self._settings
            grpc = ReservedPort(
                host=settings.grpc_host, port=settings.grpc_port, setting="grpc_host and grpc_port"
            )
            self._stack.callback(grpc.close)
            http = ListeningSocket(host=settings.http_host, port=settings.http_port)
            self._stack.callback(http.close)
            self._taken = grpc, http
        return self._taken

    def shut(self) -> None:
        """Take no more clients in, so that one who comes while all stop is turned away and does not wait."""
        if self._taken is not None:
            self._taken[1].close()
        for probes in self._probes.values():
            probes.close()

    def close(self) -> None:
        """Give everything up; the database stops."""
        self.keep(())
        self._taken = None
        self._stack.close()


def _own_port(address: str) -> int:
    """The port of an address on this machine; 0, any free one, for other addresses."""
    host, _, port = address.rpartition(":")
    return int(port) if host.strip("[]") in _LOOPBACK else 0
