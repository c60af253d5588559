"""Waking the relays of other processes on the same database, and being woken by them."""

from __future__ import annotations

import logging
import select
import socket
import threading
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import psycopg

from portico.events.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.data import Engine
    from portico.events.doorbell import Bell

_log = logging.getLogger(__name__)

_CHANNEL = "portico_events"
_REST_SECONDS = 0.005  # what comes in the meantime is told in one notice
_LONGEST_PAUSE_SECONDS = 2.0


class Intercom:
    """``LISTEN`` and ``NOTIFY``, in a thread and on a connection of its own, outside of the pool.

    A notice bears the schema of an outbox that has new events. It is sent after the commit: sent inside the
    publishing transaction, it makes all of them commit one after the other (see ``docs/events.md``). One that
    gets lost, with a process or with a connection, costs time and no event: relays also look by themselves.
    """

    def __init__(self, engine: Engine, *, bell: Bell, schemas: Iterable[str]) -> None:
        """``bell`` is rung when another process tells of ``schemas``. Nothing runs before :meth:`start`."""
        self._engine = engine
        self._bell = bell
        self._schemas = frozenset(schemas)
        self._pause = Backoff(0.1, _LONGEST_PAUSE_SECONDS, Random())
        self._lock = threading.Lock()
        self._to_tell: set[str] = set()
        self._heard: set[str] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.listening = threading.Event()
        """Set while the connection is there."""

    def start(self) -> None:
        """Open the connection and keep it open, from now until :meth:`stop`."""
        self._sleeper, self._waker = socket.socketpair()
        self._sleeper.setblocking(False)  # noqa: FBT003  # the standard library's signature
        self._waker.setblocking(False)  # noqa: FBT003
        self._thread = threading.Thread(target=self._run, name="portico-intercom", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the connection. Twice does nothing."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping.set()
        self._wake()
        thread.join()
        self._sleeper.close()
        self._waker.close()
        self._stopping.clear()

    def tell(self, schema: str) -> None:
        """Have other processes look at the outbox of ``schema``; does not wait for it."""
        with self._lock:
            is_first = not self._to_tell
            self._to_tell.add(schema)
        if is_first and self.listening.is_set():
            self._wake()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with self._engine.open_outside() as connection:
                    self._listen(connection)
            except psycopg.Error as failure:
                failures = 1 if self.listening.is_set() else failures + 1
                if failures == 1:
                    _log.warning("nobody is told of events at once, relays poll: %s", failure)
                self._stopping.wait(self._pause.after(failures).total_seconds())
            finally:
                self.listening.clear()

    def _listen(self, connection: psycopg.Connection) -> None:
        # Those that come with the answer to a statement are handed over here.
        connection.add_notify_handler(lambda notice: self._note(notice.pid, notice.payload))
        self._own_pid = connection.info.backend_pid
        connection.execute(f"LISTEN {_CHANNEL}")
        self.listening.set()
        for schema in self._schemas:  # it may have missed something
            self._bell.ring(schema)
        waiting = select.poll()
        waiting.register(connection.fileno(), select.POLLIN)
        waiting.register(self._sleeper, select.POLLIN)
        while not self._stopping.is_set():
            self._tell(connection)
            self._hear(connection)
            self._stopping.wait(_REST_SECONDS)
            waiting.poll()
            self._drain_waker()

    def _tell(self, connection: psycopg.Connection) -> None:
        with self._lock:
            schemas, self._to_tell = list(self._to_tell), set()
        if schemas:
            connection.execute("SELECT pg_notify(%s, unnest(%s::text[]))", (_CHANNEL, schemas))

    def _hear(self, connection: psycopg.Connection) -> None:
        connection.pgconn.consume_input()
        while (notice := connection.pgconn.notifies()) is not None:
            self._note(notice.be_pid, notice.extra.decode())
        heard, self._heard = self._heard, set()
        for schema in heard & self._schemas:
            self._bell.ring(schema)

    def _note(self, pid: int, schema: str) -> None:
        if pid != self._own_pid:
            self._heard.add(schema)

    def _wake(self) -> None:
        with suppress(OSError):  # it is awake, or has just been stopped
            self._waker.send(b"!")

    def _drain_waker(self) -> None:
        with suppress(BlockingIOError):
            self._sleeper.recv(64)
