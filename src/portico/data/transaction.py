"""One open database transaction, found again by everything the same call tree does."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from psycopg import Error as DriverError
from psycopg.pq import TransactionStatus

from portico.data.errors import TransactionMisuseError, out_of_time, outcome_unknown
from portico.data.session import IDLE, Session, Use

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from portico.data.engine import Engine

_log = logging.getLogger(__name__)


class Transaction:
    """Open from construction until :meth:`commit` or :meth:`rollback`; only for the thread that opened it."""

    __slots__ = (
        "_after_commit",
        "_depth",
        "_doom",
        "_thread",
        "connection",
        "engine",
        "outer",
        "session",
    )

    def __init__(self, engine: Engine, use: Use, *, outer: Transaction | None) -> None:
        """Take a connection and open the transaction in one round trip.

        ``outer`` is the transaction that is open on another database in the same call tree.
        """
        self.engine = engine
        self.outer = outer
        self._thread = threading.get_ident()
        self._depth = 0
        self._doom: str | None = None
        self._after_commit: list[Callable[[], None]] = []
        self.connection = engine.take(use.deadline)
        self.session = Session.of(self.connection)
        try:
            self.session.begin(use.deadline)
        except BaseException:
            engine.put_back(self.connection)
            raise
        self.session.use = use
        self.session.transaction = self

    def on(self, engine: Engine) -> Transaction | None:
        """The nearest one, from here outwards, that is open on ``engine``."""
        transaction: Transaction | None = self
        while transaction is not None and transaction.engine is not engine:
            transaction = transaction.outer
        return transaction

    def check_thread(self) -> None:
        """A connection does one thing at a time; raise when another thread asks."""
        if threading.get_ident() != self._thread:
            raise TransactionMisuseError(
                "a transaction was joined from another thread than the one that opened it: "
                "finish the unit of work first, or do the work in its own thread"
            )

    def doom(self, reason: str) -> None:
        """Part of the work has failed and was not undone: from now on this can only roll back."""
        self._doom = self._doom or reason

    # Savepoints

    def savepoint(self) -> tuple[int, int]:
        """Set one; hand the answer to :meth:`release` or :meth:`undo`."""
        self._depth += 1
        self.session.send(f"SAVEPOINT u{self._depth}")
        return self._depth, len(self._after_commit)

    def release(self, mark: tuple[int, int]) -> None:
        """Keep what was done since the savepoint."""
        self.check_healthy()
        self._depth = mark[0] - 1
        self.session.send(f"RELEASE u{mark[0]}")

    def undo(self, mark: tuple[int, int]) -> None:
        """Take back what was done since the savepoint, and what was to follow the commit of it."""
        depth, callbacks = mark
        self._depth = depth - 1
        del self._after_commit[callbacks:]
        if self.session.status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            self.session.send(f"ROLLBACK TO u{depth}; RELEASE u{depth}")

    # The end

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called once the commit has happened; never after a rollback."""
        self._after_commit.append(callback)

    def check_healthy(self) -> None:
        """Raise when a statement failed and its error was caught inside the block: nothing can be kept."""
        if self.session.status == TransactionStatus.INERROR:
            raise TransactionMisuseError(
                "a statement failed inside this unit of work and its error was caught there; let it leave "
                "the block, or do the statement in a unit of work of its own"
            )

    def commit(self) -> None:
        """Make it last, then call what waits for that. Raises when it cannot; then nothing has changed.

        The exception is UNAVAILABLE with TRANSACTION_OUTCOME_UNKNOWN: nobody knows.
        """
        try:
            self._check_committable()
            self._send_commit()
        except BaseException:
            self.rollback()
            raise
        self._close()
        for callback in self._after_commit:
            try:
                callback()
            except Exception:  # noqa: BLE001  # the commit stands, whatever comes after
                _log.exception("what was to follow a commit failed; the commit stands")

    def rollback(self) -> None:
        """Take everything back. A lost connection has done so already."""
        try:
            if self.session.status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                self.session.send("ROLLBACK")
        except DriverError:
            _log.warning(
                "a rollback could not be sent; the server rolls back by itself", exc_info=True
            )
        finally:
            self._close()

    def _check_committable(self) -> None:
        if self._doom is not None:
            raise TransactionMisuseError(f"this transaction cannot commit: {self._doom}")
        self.check_healthy()
        deadline = self.session.use.deadline
        if deadline is not None and time.monotonic() >= deadline:
            raise out_of_time()

    def _send_commit(self) -> None:
        try:
            self.session.send("COMMIT")
        except DriverError as error:
            if self.session.is_broken:
                raise outcome_unknown() from error
            raise

    def _close(self) -> None:
        self.session.transaction = None
        self.session.use = IDLE
        self.session.ended()
        self.engine.put_back(self.connection)


def transaction_of(session: Connection) -> Transaction | None:
    """The transaction of a connection that a unit of work gave out; None for one that only reads."""
    return Session.of(session).transaction


def on_commit(session: Connection, callback: Callable[[], None]) -> None:
    """Have ``callback`` called after the commit of the unit of work that ``session`` belongs to.

    It runs in the same thread, after the connection is free, and not at all when the work is undone.
    An error in it is logged. Outside a unit of work: TransactionMisuseError.
    """
    transaction = transaction_of(session)
    if transaction is None:
        raise TransactionMisuseError("there is nothing to commit: this connection only reads")
    transaction.after_commit(callback)
