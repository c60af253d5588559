"""The connections of this process to one database, shared by all its modules."""

from __future__ import annotations

import select
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError

from portico.data.errors import TransactionMisuseError, out_of_time, pool_exhausted, translated
from portico.data.guard import TableGuard
from portico.data.session import Session
from portico.data.statement_spans import attach

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

_CONNECT_TIMEOUT_SECONDS = 5


class Engine:
    """A bounded pool of connections, opened when they are first needed.

    A connection can only read until a unit of work opens a transaction on it. Names are not searched
    for: every table is written with its schema.
    """

    def __init__(
        self,
        url: URL | str,
        *,
        pool_size: int = 20,
        pool_timeout_seconds: float = 5.0,
        statement_timeout_seconds: float = 60.0,
        lock_timeout_seconds: float = 5.0,
        idle_in_transaction_seconds: float = 60.0,
        application_name: str = "portico",
        guard: bool = True,
    ) -> None:
        """``statement_timeout_seconds`` limits a statement whose call has no earlier deadline.

        ``guard`` refuses statements that touch another module's schema.
        """
        self.pool_size = pool_size
        self.guard = TableGuard() if guard else None
        self._pool_timeout_seconds = pool_timeout_seconds
        self._statement_timeout_ms = int(statement_timeout_seconds * 1000)
        self._free = threading.BoundedSemaphore(pool_size)
        self._connect_args: dict[str, Any] = {
            "application_name": application_name,
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "options": _options(
                statement_timeout=self._statement_timeout_ms,
                lock_timeout=int(lock_timeout_seconds * 1000),
                idle_in_transaction_session_timeout=int(idle_in_transaction_seconds * 1000),
                default_transaction_read_only="on",
                search_path="",
                timezone="UTC",
            ),
        }
        self._sqlalchemy = create_engine(
            driver_url(url),
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,  # errors and log lines show the statement, never whose data it was
            skip_autocommit_rollback=True,
            pool_size=pool_size,
            max_overflow=0,
            pool_use_lifo=True,  # what is not needed at the moment stays idle
            pool_reset_on_return=None,  # transactions are ended here, not by the pool
            connect_args=self._connect_args,
        )
        event.listen(self._sqlalchemy, "connect", self._on_connect)
        event.listen(self._sqlalchemy, "checkout", _refuse_dead)
        event.listen(self._sqlalchemy, "commit", _refuse_own_ending)
        event.listen(self._sqlalchemy, "rollback", _refuse_own_ending)
        event.listen(self._sqlalchemy, "before_cursor_execute", self._before_statement)

    @property
    def in_use(self) -> int:
        """Connections that are out of the pool at the moment."""
        return self._sqlalchemy.pool.checkedout()  # type: ignore[attr-defined, no-any-return]

    def trace(self) -> None:
        """Have the statements of calls that are traced get spans, from now on."""
        attach(self._sqlalchemy)

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they come back."""
        self._sqlalchemy.dispose()

    def take(self, deadline: float | None) -> Connection:
        """A connection out of the pool; it must be given to :meth:`put_back`.

        Waits until one is free, no longer than the pool's limit or ``deadline``. Raises
        RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, or UNAVAILABLE when a new one cannot be opened.
        """
        self._await_free(deadline)
        try:
            return self._sqlalchemy.connect()
        except BaseException as error:
            self._free.release()
            known = translated(error)
            if known is not None:
                raise known from error
            raise

    def open_outside(self) -> psycopg.Connection:
        """A new connection outside of the pool, for one who listens all the time; to be closed by the caller.

        Raises psycopg's OperationalError when it cannot be opened.
        """
        address = self._sqlalchemy.url.set(drivername="postgresql")
        return psycopg.connect(
            address.render_as_string(hide_password=False), autocommit=True, **self._connect_args
        )

    def put_back(self, connection: Connection) -> None:
        """Return a connection to the pool; one in an unknown state is closed instead."""
        try:
            if (
                not connection.invalidated
                and Session.of(connection).status != TransactionStatus.IDLE
            ):
                connection.invalidate()
            connection.close()
        finally:
            self._free.release()

    def _await_free(self, deadline: float | None) -> None:
        if self._free.acquire(blocking=False):
            return
        began = time.monotonic()
        wait = self._pool_timeout_seconds
        if deadline is not None:
            wait = min(wait, max(deadline - began, 0.0))
        if self._free.acquire(timeout=wait):
            return
        if deadline is not None and time.monotonic() >= deadline:
            raise out_of_time()
        raise pool_exhausted(self.pool_size, wait)

    def _on_connect(self, driver: Any, entry: ConnectionPoolEntry) -> None:
        Session.attach(Session(driver, statement_timeout_ms=self._statement_timeout_ms), entry.info)

    def _before_statement(
        self, connection: Connection, _cursor: Any, statement: str, *_: Any
    ) -> None:
        session = Session.of(connection)
        if self.guard is not None:
            self.guard.check(statement, schema=session.use.schema, read_only=session.use.read_only)
        session.before_statement()


def driver_url(url: URL | str) -> URL:
    """``url`` for psycopg 3, whichever Postgres driver it names or leaves open."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError(f"the database must be Postgres, not {parsed.get_backend_name()}")
    return parsed.set(drivername="postgresql+psycopg")


def _options(**settings: object) -> str:
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _refuse_dead(
    driver: psycopg.Connection, _entry: ConnectionPoolEntry, _fairy: PoolProxiedConnection
) -> None:
    """Have the pool open another connection in place of one whose server is gone.

    A server that ends says goodbye, and nothing else ever comes unasked. So a glance at the socket
    tells, where a ping would cost every block a round trip.
    """
    poll = select.poll()
    poll.register(driver.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


def _refuse_own_ending(connection: Connection) -> None:
    if not connection.invalidated and Session.of(connection).transaction is not None:
        raise TransactionMisuseError(
            "the unit of work ends its transaction: leave the block, or raise out of it"
        )
