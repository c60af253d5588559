"""A shop in real processes that faults can be ordered in, on a Postgres and a Redis that can crash."""

from __future__ import annotations

import json
import queue
import random
import socket
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from redis import Redis

from emporium.app import application
from portico.data.redis_server import RedisServer
from portico.testing.zygote import Offspring, Zygote
from tests.journeys.shopper import Shopper
from tests.proof import columns, life
from tests.proof.placements import is_by_redis, topology_file
from tests.proof.server import Server, address, connected

if TYPE_CHECKING:
    from types import TracebackType

    import psycopg
    from sqlalchemy import URL

    from portico.testing.faults import Fault

PATIENCE_SECONDS = 60.0
_SECRET = "known to all processes of this proof"

_PORTS = 12_000, 32_000  # Linux gives those from 32768 on to connections


class Processes:
    """Every process of a topology, each of which is started again when it has ended. A context manager."""

    def __init__(
        self,
        zygote: Zygote,
        placement: str,
        url: URL,
        folder: Path,
        *,
        redis_url: str = "",
        plant: str = "",
    ) -> None:
        """Nothing starts yet. ``plant`` names a bug that they shall have, see ``tests.proof.planted``."""
        file = topology_file(placement, folder)
        found = application.topology(file)
        self.names = list(found.processes)
        self._topology = found
        self.front = next(name for name, process in found.processes.items() if process.front)
        self.reports: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._zygote = zygote
        self._folder = folder
        self._plant = plant
        self._ports = {name: _free_port() for name in ["", *self.names]}
        self._environment = {
            "PORTICO_TOPOLOGY": str(file),
            "PORTICO_ADDRESSES": json.dumps(
                {name: f"127.0.0.1:{self._ports[name]}" for name in self.names}
            ),
            "PORTICO_DATABASE_URL": address(url),
            **({"PORTICO_REDIS_URL": redis_url} if redis_url else {}),
            **life.ENVIRONMENT,
            "PORTICO_HOP_SECRET": _SECRET,
        }
        self._running: dict[str, Offspring] = {}
        self.rest = f"http://127.0.0.1:{self._ports['']}"

    @property
    def pids(self) -> list[int]:
        """The process ids of those that live."""
        return [each.pid for each in self._running.values() if not each.ended.is_set()]

    def start(self) -> list[str]:
        """Start those that do not run, all of them at once; which these were."""
        missing = [
            name
            for name in self.names
            if name not in self._running or self._running[name].ended.is_set()
        ]
        for name in missing:
            self._running[name] = self._fork(name)
        for name in missing:
            process = self._running[name]
            if not process.ready.wait(PATIENCE_SECONDS) or process.ended.is_set():
                raise RuntimeError(f"{name} does not start:\n{self.log(name)[-4000:]}")
        return missing

    def named(self, name: str) -> Offspring:
        """The one that runs, or ran last, under this name."""
        return self._running[name]

    def home(self, module: str) -> str:
        """The process in which a module runs."""
        return self._topology.process_of(module).name

    def log(self, name: str) -> str:
        """All that it has said."""
        return (self._folder / f"{name}.log").read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            process.kill()

    def _fork(self, name: str) -> Offspring:
        environment = self._environment | {
            "PORTICO_PROCESS": name,
            "PORTICO_HTTP_PORT": str(self._ports[""] if name == self.front else 0),
        }
        told = {
            "name": name,
            "environment": environment,
            "log": str(self._folder / f"{name}.log"),
            "plant": self._plant,
        }
        hear = partial(self._hear, name)
        return Offspring(self._zygote, told, folder=self._folder, hear=hear)

    def _hear(self, name: str, report: dict[str, Any]) -> None:
        self.reports.put((name, report))


class Stand:
    """One database and the processes of one placement on it, for one case after the other. A context manager."""

    def __init__(
        self, zygote: Zygote, server: Server, placement: str, folder: Path, *, plant: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._server = server
        self.url = server.database(lambda url: _furnish(url, zygote, folder))
        self.is_by_redis = is_by_redis(placement)
        self._redis = RedisServer(folder, port=_free_port())
        self.processes = Processes(
            zygote,
            placement,
            self.url,
            folder,
            redis_url=self._redis.url if self.is_by_redis else "",
            plant=plant,
        )
        self._stack = ExitStack()
        self.conditions: dict[str, list[Fault]] = {}
        """What holds all through a case, by process; also for those that are started in it."""
        self.outside: psycopg.Connection[Any]
        """A connection of nobody's, each statement by itself."""

    def __enter__(self) -> Self:
        if self.is_by_redis:
            self._redis.start()
            self._stack.callback(self._redis.stop)
        self._stack.enter_context(self.processes)
        self.processes.start()
        self.outside = connected(self.url)
        self.customer = Shopper.log_in(self.processes.rest, "demo@example.com", "demo-password")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.outside.close()
        self._stack.close()

    def befall(self, what: str, process: str) -> None:
        """Have it happen while a thread of ``process`` waits at a point; ``what`` as ``tests.proof.cases`` has it."""
        match what:
            case columns.DATABASE:
                self._crash_database()
            case columns.FLUSHED:
                self._flush()
            case columns.RESTARTED:
                self._redis.kill()
                self._redis.start()
            case columns.FLUSHED_AND_KILLED:
                self.processes.named(process).kill()
                self._flush()
            case _:
                raise ValueError(what)

    def _flush(self) -> None:
        with Redis.from_url(self._redis.url) as redis:
            redis.flushall()

    def _crash_database(self) -> None:
        """Have Postgres stop at once and start again, and look at it from outside as before."""
        self.outside.close()
        self._server.crash()
        self.outside = connected(self.url)

    def order(self, faults: dict[str, list[Fault]], *, record: bool = False) -> None:
        """Order faults by process, with the conditions of the case; elsewhere there are none but those."""
        for name in self.processes.names:
            both = [*self.conditions.get(name, ()), *faults.get(name, ())]
            self.processes.named(name).order(*both, record=record)

    def revive(self) -> None:
        """Start what has ended, without the faults it ended of."""
        for name in self.processes.start():
            self.processes.named(name).order(*self.conditions.get(name, ()))

    def reports(self, *, seconds: float = 0.0) -> list[tuple[str, dict[str, Any]]]:
        """What processes have reported since the last time; waits for the first one so long."""
        found = []
        try:
            found.append(
                self.processes.reports.get(timeout=seconds)
                if seconds
                else self.processes.reports.get_nowait()
            )
            while True:
                found.append(self.processes.reports.get_nowait())
        except queue.Empty:
            return found


def _furnish(url: URL, zygote: Zygote, folder: Path) -> None:
    with Processes(zygote, "monolith", url, folder) as first:
        first.start()


def _free_port() -> int:
    """One that no connection out of this machine takes while the process that listens there is dead."""
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
