"""The real program as a process of its own: started, stopped and killed as an operator would."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from emporium.app import application

MONOLITH = "monolith"
_PATIENCE_SECONDS = 60
_ADDRESSES = re.compile(r"gRPC\s+(?P<grpc>\S+:\d+)\s+REST\s+(?P<rest>http://\S+:\d+)")
# Log-in is not under test here: a hash that costs nothing lets 64 buyers sign up in no time.
_CHEAP_PASSWORDS = {
    "PORTICO_AUTH__ARGON2_PASSES": "1",
    "PORTICO_AUTH__ARGON2_MEMORY_KIB": "32",
}


class Served:
    """The demonstration on free ports, with an embedded Postgres in ``folder``.

    ``portico serve --demo``, or ``portico up TOPOLOGY --demo`` with all the processes of a topology.
    """

    def __init__(self, folder: Path, *, topology: str = MONOLITH, **settings: str) -> None:
        """``settings`` are further variables, ``PORTICO_…``."""
        self._folder = folder
        self._command = ["serve"] if topology == MONOLITH else ["up", topology]
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self.grpc = ""
        self.rest = ""
        self.greeting = ""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> None:
        """Return when it serves; raise with its own words when it does not."""
        said, log = self._folder / "said.txt", self._folder / "log.txt"
        with said.open("wb") as out, log.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "portico", *self._command, "--demo"],
                cwd=self._folder,
                env=self._environment(),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        until = time.monotonic() + _PATIENCE_SECONDS
        while not (found := _ADDRESSES.search(said.read_text())):
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError(f"the program does not serve:\n{log.read_text()[-4000:]}")
            time.sleep(0.02)
        self.grpc, self.rest = found["grpc"], found["rest"]
        self.greeting = said.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop, as a service manager or Ctrl-C does; the answer is its exit code."""
        self.process.send_signal(number)
        return self.process.wait(_PATIENCE_SECONDS)

    def kill(self) -> None:
        """``kill -9`` of the whole group; nothing in it gets to clean up."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_PATIENCE_SECONDS)

    def close(self) -> None:
        """Leave nothing running, whatever has become of it: a killed program's Postgres ends by itself."""
        if self._process is not None and self.process.poll() is None:
            self.stop()
        until = time.monotonic() + _PATIENCE_SECONDS
        while self.has_database() and time.monotonic() < until:
            time.sleep(0.02)

    def log(self) -> str:
        """Everything it has logged, in this and earlier runs."""
        return (self._folder / "log.txt").read_text()

    def database(self) -> psycopg.Connection:
        """A connection from outside to its database, as that one's superuser."""
        lines = (self._folder / "data/postgres/data/postmaster.pid").read_text().splitlines()
        return psycopg.connect(host=lines[4], user="portico", dbname="postgres", autocommit=True)

    def has_database(self) -> bool:
        """Whether its Postgres runs, by Postgres's own note."""
        return (self._folder / "data/postgres/data/postmaster.pid").exists()

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PORTICO_") and name not in ("DATABASE_URL", "REDIS_URL")
        }
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PORTICO_APP": "emporium.app:application",
            "PORTICO_GRPC_PORT": "0",
            "PORTICO_HTTP_PORT": "0",
            "PORTICO_DATA_FOLDER": str(self._folder / "data"),
            "PORTICO_LOG_LEVEL": "warning",
            "PORTICO_LOG_FORMAT": "json",
            **_CHEAP_PASSWORDS,
            **self._settings,
        }


@contextlib.contextmanager
def new_folder(like: Path | None = None) -> Iterator[Path]:
    """A folder that is gone afterwards, perhaps with a copy of another one's data.

    Postgres may enter it whoever it runs as.
    """
    folder = Path(tempfile.mkdtemp(prefix="portico-journey-"))
    folder.chmod(0o711)
    try:
        if like is not None:
            subprocess.run(["cp", "-a", like / "data", folder / "data"], check=True)
        yield folder
    finally:
        shutil.rmtree(folder)


def by_redis(topology: str, folder: Path) -> Path:
    """One of the topologies that come with the shop, but its events go by Redis; in ``folder``."""
    shipped = application.topology_file(Path(topology))
    file = folder / shipped.name
    file.write_text(f'events = "redis"\n{shipped.read_text()}')
    return file


@contextlib.contextmanager
def running(like: Path, topology: str = MONOLITH, *, redis_url: str = "") -> Iterator[Served]:
    """A program that serves, with a copy of the data in ``like``; its events go by Redis if one is given."""
    with new_folder(like) as folder:
        if redis_url:
            file = by_redis(topology, folder)
            program = Served(folder, topology=str(file), PORTICO_REDIS_URL=redis_url)
        else:
            program = Served(folder, topology=topology)
        try:
            program.start()
            yield program
        finally:
            program.close()


@pytest.fixture(scope="session")
def topology(request: pytest.FixtureRequest) -> str:
    """The placement that the journeys are made on: ``--topology``, by default all in one process."""
    chosen: str = request.config.getoption("--topology")
    return chosen


@pytest.fixture(scope="session")
def carrier(request: pytest.FixtureRequest) -> str:
    """The Redis by which events go between processes: with ``--events redis``; else empty."""
    if request.config.getoption("--events") == "rpc":
        return ""
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture(scope="session")
def fresh() -> Iterator[Path]:
    """A folder with what the first start makes: the database, its schemas, the demonstration."""
    with new_folder() as folder:
        program = Served(folder)
        program.start()
        program.close()
        yield folder


@pytest.fixture
def own(fresh: Path, topology: str, carrier: str) -> Iterator[Served]:
    """A program of the test's own, to be stopped and killed at will."""
    with running(fresh, topology, redis_url=carrier) as program:
        yield program


@pytest.fixture(scope="session")
def served(fresh: Path, topology: str, carrier: str) -> Iterator[Served]:
    """A program that all tests share and leave running."""
    with running(fresh, topology, redis_url=carrier) as program:
        yield program
