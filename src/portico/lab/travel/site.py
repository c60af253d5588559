"""Where the application runs for as long as something is measured: a folder, a Postgres, its processes."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import NullPool, create_engine

from portico.data import EmbeddedPostgres, migrations
from portico.lab.lab_process import LabProcess
from portico.lab.travel.schema import MIGRATION, MODULES
from portico.settings import environment_without_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

TOPOLOGY = "apart"

_TOPOLOGY = """
[processes.reservations]
modules = ["reservations"]
address = "127.0.0.1:{reservations_port}"

[processes.trips]
modules = ["trips"]
address = "127.0.0.1:{trips_port}"
front = true
"""


class Site:
    """A temporary folder with everything that the application's processes read; a context manager.

    Each of them runs there, with ``environment``, and finds its settings in the folder's
    ``portico.toml``, its topology, and the schemas of its modules in a database of its own.
    """

    def __init__(self, *, fsync: bool = True) -> None:
        """Without ``fsync`` the database answers before anything is on the disk."""
        self._fsync = fsync
        self._stack = ExitStack()
        self.environment = environment_without_settings()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = stack.enter_context(_folder())
            self._postgres = stack.enter_context(
                EmbeddedPostgres(self.folder / "postgres", fsync=self._fsync)
            )
            self._furnish()
            self._engine = create_engine(self._postgres.url, poolclass=NullPool)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def database_url(self) -> str:
        """Where the schemas of both modules are."""
        return self._postgres.url.render_as_string(hide_password=False)

    @property
    def postgres_pid(self) -> int:
        """The process of the database server, the parent of those that do its work."""
        return self._postgres.pid

    def rows(self, statement: str) -> list[Any]:
        """What a statement answers, asked past the application; what it changes is kept."""
        with self._engine.begin() as connection:
            found = connection.exec_driver_sql(statement)
            return list(found) if found.returns_rows else []

    def process(self, module: str, *arguments: str) -> LabProcess:
        """A process of the laboratory that runs here."""
        return LabProcess(module, *arguments, folder=self.folder, environment=self.environment)

    def _furnish(self) -> None:
        for module in MODULES:
            versions = self.folder / "migrations" / module / "versions"
            versions.mkdir(parents=True)
            (versions / "0001_tables.py").write_text(MIGRATION.format(module=module))
        migrations.upgrade(self._postgres.url, MODULES, folder=self.folder / "migrations")
        topologies = self.folder / "topologies"
        topologies.mkdir()
        ports = dict(zip(("reservations_port", "trips_port"), _free_ports(2), strict=True))
        (topologies / f"{TOPOLOGY}.toml").write_text(_TOPOLOGY.format(**ports))
        settings = {
            "app": "portico.lab.travel.application:application",
            "database_url": self.database_url,
            "hop_secret": token_hex(16),
            "log_level": "error",
            "grpc_port": 0,
            "http_port": 0,
        }
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
        (self.folder / "portico.toml").write_text("".join(lines))


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="portico-lab-"))
    folder.chmod(0o711)  # the user who runs Postgres goes through it when root measures
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody had just now; all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
