"""A real Postgres and a real Redis for tests, as pytest fixtures; nothing has to be installed.

In a ``conftest.py``::

    from portico.testing.servers import database_url, databases, postgres, redis_url
"""

from __future__ import annotations

import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from portico.data import EmbeddedPostgres, migrations
from portico.data.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import URL

__all__ = ["Databases", "database_url", "databases", "postgres", "redis_server", "redis_url"]


class Databases:
    """Makes databases on a server, each of which the first test finds as new."""

    def __init__(self, server: URL) -> None:
        """``server`` is the URL of any database there, of a user who may make others."""
        self._server = server
        self._numbers = count(1)
        self._migrated: dict[tuple[tuple[str, ...], Path], str] = {}

    def new(self, *, template: str = "template1") -> URL:
        """A new database, a copy of ``template``, to which nobody may be connected."""
        name = f"test_{next(self._numbers)}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self._server.set(database=name)

    def migrated(self, modules: Sequence[str], *, folder: Path) -> URL:
        """A new database with the schemas of these modules. They are migrated once, then copied."""
        key = tuple(modules), folder
        if key not in self._migrated:
            template = self.new()
            migrations.upgrade(template, modules, folder=folder)
            self._migrated[key] = str(template.database)
        return self.new(template=self._migrated[key])

    def drop(self, database: URL) -> None:
        """Remove it, whoever is still connected."""
        self._run(f'DROP DATABASE "{database.database}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        engine = create_engine(self._server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server that lives as long as the test run. Its data are not safe, only quick."""
    # Not pytest's folder, which is closed to the user who runs Postgres when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="portico-tests-"))
    folder.chmod(0o711)
    try:
        with EmbeddedPostgres(folder / "postgres", fsync=False) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres) -> Databases:
    """Where a test gets databases from."""
    return Databases(postgres.url)


@pytest.fixture(scope="module")
def database_url(databases: Databases) -> Iterator[URL]:
    """An empty database for the tests of one file."""
    url = databases.new()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that lives as long as the test run."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url
