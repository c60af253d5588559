"""What the kernel knows of one database connection: whose it is, what it may do, for how long."""

from __future__ import annotations

import time
from math import ceil, inf
from typing import TYPE_CHECKING, NamedTuple

from psycopg import OperationalError
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus

from portico.data.errors import out_of_time

if TYPE_CHECKING:
    from psycopg import Connection as DriverConnection
    from sqlalchemy import Connection

    from portico.data.transaction import Transaction

_KEY = "portico.session"
_LEAST_MS = 5
_STEPS = ((1000, 25), (10_000, 250), (inf, 1000))  # up to so many ms, in steps of so many


class Use(NamedTuple):
    """Who uses a connection at the moment."""

    schema: str
    read_only: bool
    deadline: float | None
    """In seconds of ``time.monotonic()``."""


IDLE = Use("", read_only=True, deadline=None)


class Session:
    """Kept with a connection as long as that lives; used by one thread at a time."""

    __slots__ = ("_default_ms", "_driver", "_lasting_ms", "_timeout_ms", "transaction", "use")

    def __init__(self, driver: DriverConnection, *, statement_timeout_ms: int) -> None:
        """``statement_timeout_ms`` is what the connection was opened with."""
        self._driver = driver
        self._default_ms = statement_timeout_ms
        self._lasting_ms = statement_timeout_ms  # of the connection
        self._timeout_ms = statement_timeout_ms  # of the next statement
        self.use = IDLE
        self.transaction: Transaction | None = None

    @staticmethod
    def attach(session: Session, info: dict[str, object]) -> None:
        """Keep ``session`` in the ``info`` of its connection."""
        info[_KEY] = session

    @staticmethod
    def of(connection: Connection) -> Session:
        """The session of a connection that :class:`portico.data.engine.Engine` made."""
        return connection.info[_KEY]  # type: ignore[no-any-return]

    @property
    def status(self) -> TransactionStatus:
        """What libpq knows, without asking the server."""
        return TransactionStatus(self._driver.pgconn.transaction_status)

    @property
    def is_broken(self) -> bool:
        """Whether the connection is lost."""
        return self.status == TransactionStatus.UNKNOWN

    def send(self, statements: str) -> None:
        """Run statements without parameters in one round trip; several are separated by ``;``.

        Half the price of a cursor. Raises psycopg's error for the first one that fails.
        """
        result = self._driver.pgconn.exec_(statements.encode())
        if result.status != ExecStatus.COMMAND_OK:
            if self.is_broken:
                raise OperationalError(result.get_error_message())
            raise error_from_result(result, encoding="utf-8")

    def begin(self, deadline: float | None) -> None:
        """Open a transaction that may write, its statements limited to what is left until ``deadline``."""
        wanted = (
            self._default_ms if deadline is None else _remaining_ms(deadline, most=self._default_ms)
        )
        if wanted == self._lasting_ms:
            self.send("BEGIN READ WRITE")
        else:
            self.send(f"BEGIN READ WRITE; SET LOCAL statement_timeout = {wanted}")
        self._timeout_ms = wanted

    def ended(self) -> None:
        """The transaction is over, and with it what was set for it alone."""
        self._timeout_ms = self._lasting_ms

    def limit_reads(self, deadline: float | None) -> None:
        """Limit the statements outside a transaction; asks the server only when the step changes."""
        wanted = (
            self._default_ms
            if deadline is None
            else _stepped(_remaining_ms(deadline, most=self._default_ms))
        )
        if wanted != self._lasting_ms:
            self.send(f"SET statement_timeout = {wanted}")
            self._lasting_ms = self._timeout_ms = wanted

    def before_statement(self) -> None:
        """Refuse a statement after the deadline; cut its time when much less is left than it would get."""
        deadline = self.use.deadline
        if deadline is None:
            return
        remaining_ms = (deadline - time.monotonic()) * 1000
        if remaining_ms <= 0:
            raise out_of_time()
        if remaining_ms * 2 < self._timeout_ms and self._timeout_ms > _LEAST_MS:
            if self.transaction is None:
                self.limit_reads(deadline)
            else:
                self._limit_transaction(_remaining_ms(deadline, most=self._default_ms))

    def take_over(self, use: Use) -> tuple[Use, int]:
        """Begin another use within the open one; hand the answer to :meth:`give_back`."""
        before = self.use, self._timeout_ms
        self.use = use
        return before

    def give_back(self, before: tuple[Use, int], *, undone: bool) -> None:
        """Go on as before; ``undone`` says that a rollback has restored the time limit already."""
        self.use, timeout_ms = before
        if undone:
            self._timeout_ms = timeout_ms
        elif self._timeout_ms < timeout_ms and self.status == TransactionStatus.INTRANS:
            deadline = self.use.deadline
            self._limit_transaction(
                timeout_ms if deadline is None else _remaining_ms(deadline, most=self._default_ms)
            )

    def _limit_transaction(self, timeout_ms: int) -> None:
        self.send(f"SET LOCAL statement_timeout = {timeout_ms}")
        self._timeout_ms = timeout_ms


def _remaining_ms(deadline: float, *, most: int) -> int:
    # Never 0, which would mean no limit.
    return min(max(ceil((deadline - time.monotonic()) * 1000), _LEAST_MS), most)


def _stepped(milliseconds: int) -> int:
    """Rounded up to a step, so that the limit of a connection in steady use seldom changes."""
    step = next(step for up_to, step in _STEPS if milliseconds <= up_to)
    return ceil(milliseconds / step) * step
