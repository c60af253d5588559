"""A Postgres with the processes on it, of which any can be killed."""

from __future__ import annotations

import shutil
import socket
import tempfile
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from sqlalchemy import NullPool, create_engine

from portico.data import EmbeddedPostgres
from portico.data.redis_server import redis_server
from portico.lab.lab_process import LabProcess
from portico.lab.outbox import consuming, relaying, tables, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random
    from types import TracebackType

RELAYS = 3
CONSUMERS = 2

_REDIS_SECONDS = 5.0


class Yard:
    """A Postgres, with fsync, relays and consumers, and a Redis where events go by it; a context manager."""

    def __init__(self, transport: str) -> None:
        """``transport`` is how events get from relays to consumers: rpc or redis."""
        self._transport = transport
        self._stack = ExitStack()
        self._redis = ""
        kinds = ["consumer", "redis", "relay", "consumer"]
        if transport != "redis":
            kinds.remove("redis")
        self._turns = cycle(kinds)
        self.kills = dict.fromkeys(kinds, 0)
        """So many so far, by what they were of; a Redis is not killed but flushed."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(_folder())
            postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
            self._url = postgres.url.render_as_string(hide_password=False)
            self._engine = create_engine(postgres.url, poolclass=NullPool)
            with self._engine.begin() as session:
                tables.create(_Statements(session.exec_driver_sql))
            if self._transport == "redis":
                self._redis = stack.enter_context(redis_server(folder))
            self._consumers = [stack.enter_context(self._consumer()) for _ in range(CONSUMERS)]
            addresses = [each.told for each in self._consumers]
            self._relays = [
                stack.enter_context(self._process(relaying.__name__, self._redis, *addresses))
                for _ in range(RELAYS)
            ]
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def writer(self, *order: str) -> LabProcess:
        """The process that publishes, not started."""
        return self._process(writing.__name__, *order)

    def value(self, statement: str) -> Any:
        """What a statement answers."""
        return self.rows(statement)[0][0]

    def rows(self, statement: str) -> list[Any]:
        """The same, of several rows."""
        with self._engine.begin() as session:
            return list(session.exec_driver_sql(statement))

    def kill_any(self, random: Random) -> None:
        """Kill a consumer or a relay and start it again, or empty the Redis, in turn; a random one of its kind."""
        kind = next(self._turns)
        if kind == "redis":
            _flush(self._redis)
        else:
            victim = random.choice(self._consumers if kind == "consumer" else self._relays)
            victim.kill()
            victim.start()
        self.kills[kind] += 1

    def is_left(self) -> bool:
        """Whether anything that was published has yet to be delivered."""
        return not tables.are_all_delivered(self.value)

    def _end(self) -> None:
        """At once: nothing that they would still do is of use to anybody."""
        for each in (*self._consumers, *self._relays):
            each.kill()

    def _consumer(self) -> LabProcess:
        """It has the same port when it is started again."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return self._process(consuming.__name__, self._redis, str(port))

    def _process(self, module: str, *arguments: str) -> LabProcess:
        return LabProcess(module, self._url, *arguments)


class _Statements:
    """What the kernel's migrations run their statements with."""

    def __init__(self, execute: Any) -> None:
        self.execute = execute


def _flush(url: str) -> None:
    """All at once, whoever is at it; said over a bare socket, since the driver is the storage's alone."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=_REDIS_SECONDS) as redis:
        redis.sendall(b"FLUSHALL\r\n")
        answer = redis.recv(64)
    if answer != b"+OK\r\n":
        raise RuntimeError(f"Redis was not flushed: {answer!r}")


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="portico-lab-"))
    folder.chmod(0o711)  # the user who runs Postgres goes through it when root measures
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
