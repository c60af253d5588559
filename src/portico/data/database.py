"""A module's way to its tables: a unit of work to change them, a reading to look at them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from psycopg import Error as DriverError
from sqlalchemy.exc import DBAPIError

from portico.context import Call, current_or_none, entered, root
from portico.data.errors import translated
from portico.data.session import IDLE, Session, Use
from portico.data.transaction import Transaction

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy import Connection

    from portico.data.engine import Engine


class Database:
    """One module's schema in a database that other modules share."""

    def __init__(self, engine: Engine, *, schema: str) -> None:
        """``schema`` bears the module's name."""
        self.engine = engine
        self.schema = schema
        if engine.guard is not None:
            engine.guard.protect(schema)

    def unit_of_work(self) -> AbstractContextManager[Connection]:
        """All or nothing: what the block did is kept when it ends and undone when it raises.

        Inside another unit of work on the same database, in this module or a calling one, it joins
        that: a failure undoes this block alone, and nothing lasts before the outer one commits.
        Inside a workflow step a failure undoes the whole workflow instead, unless the step is
        ``trying``.

        Raises DEADLINE_EXCEEDED when the call's time is over, ABORTED when another transaction was in
        the way, RESOURCE_EXHAUSTED and UNAVAILABLE when there is no connection.
        """
        return _UnitOfWork(self)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that can only read, each statement by itself, with no transaction around them.

        Inside a unit of work it is that one's connection and sees what was written there.
        """
        return _Reading(self)


class _Block(AbstractContextManager["Connection"]):
    """What both kinds share: the call they belong to, and errors in the kernel's terms."""

    __slots__ = ("_call", "_database", "_own_call")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._own_call: AbstractContextManager[Call] | None = None

    def _enter_call(self) -> Call:
        call = current_or_none()
        if call is None:  # a script or a test: blocks inside this one shall find it
            call = root(module=self._database.schema)
            self._own_call = entered(call)
            self._own_call.__enter__()
        self._call = call
        return call

    def _leave_call(self) -> None:
        if self._own_call is not None:
            self._own_call.__exit__(None, None, None)

    def _open_transaction(self, call: Call) -> Transaction | None:
        transaction: Transaction | None = call.transaction
        if transaction is not None:
            transaction = transaction.on(self._database.engine)
        if transaction is not None:
            transaction.check_thread()
        return transaction

    def _use(self, call: Call, joined: Transaction | None, *, read_only: bool) -> Use:
        deadline = call.deadline
        if joined is not None:
            outer = joined.session.use.deadline
            if deadline is None or (outer is not None and outer < deadline):
                deadline = outer
        return Use(self._database.schema, read_only, deadline)


def _raise_known(error: BaseException | None) -> None:
    if isinstance(error, (DBAPIError, DriverError)):
        known = translated(error)
        if known is not None:
            raise known from error


class _UnitOfWork(_Block):
    __slots__ = ("_before", "_joined", "_mark", "_outer", "_transaction")

    def __enter__(self) -> Connection:
        call = self._enter_call()
        try:
            joined = self._open_transaction(call)
            self._joined = joined is not None
            if joined is None:
                self._open(call)
            else:
                self._join(call, joined)
        except BaseException as error:
            self._leave_call()
            _raise_known(error)
            raise
        return self._transaction.connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._joined:
                self._leave_joined(error)
            else:
                self._close(error)
        except DriverError as failure:
            _raise_known(failure)
            raise
        finally:
            self._leave_call()
        _raise_known(error)

    def _open(self, call: Call) -> None:
        self._outer: Transaction | None = call.transaction
        use = self._use(call, None, read_only=False)
        self._transaction = call.transaction = Transaction(
            self._database.engine, use, outer=self._outer
        )

    def _close(self, error: BaseException | None) -> None:
        self._call.transaction = self._outer
        if error is None:
            self._transaction.commit()
        else:
            self._transaction.rollback()

    def _join(self, call: Call, transaction: Transaction) -> None:
        self._transaction = transaction
        # A failed step makes its workflow roll everything back: a savepoint would be two statements for nothing,
        # unless the step goes on after a refusal.
        undoable = call.step is None or call.step.trying
        self._mark = transaction.savepoint() if undoable else None
        self._before = transaction.session.take_over(self._use(call, transaction, read_only=False))

    def _leave_joined(self, error: BaseException | None) -> None:
        transaction, mark = self._transaction, self._mark
        if mark is None:
            if error is not None:
                transaction.doom(
                    f"a step of {self._database.schema} failed with {type(error).__name__}: {error}"
                )
            transaction.session.give_back(self._before, undone=False)
            return
        if error is None:
            try:
                transaction.release(mark)
            except BaseException:
                self._undo(mark)
                raise
            transaction.session.give_back(self._before, undone=False)
        else:
            self._undo(mark)

    def _undo(self, mark: tuple[int, int]) -> None:
        try:
            self._transaction.undo(mark)
        finally:
            self._transaction.session.give_back(self._before, undone=True)


class _Reading(_Block):
    __slots__ = ("_before", "_connection", "_joined")

    def __enter__(self) -> Connection:
        call = self._enter_call()
        try:
            self._joined = self._open_transaction(call)
            use = self._use(call, self._joined, read_only=True)
            if self._joined is None:
                self._connection = self._take(use)
            else:
                self._connection = self._joined.connection
                self._before = self._joined.session.take_over(use)
        except BaseException as error:
            self._leave_call()
            _raise_known(error)
            raise
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._joined is not None:
                self._joined.session.give_back(self._before, undone=False)
            else:
                if not self._connection.invalidated:
                    Session.of(self._connection).use = IDLE
                self._database.engine.put_back(self._connection)
        finally:
            self._leave_call()
        _raise_known(error)

    def _take(self, use: Use) -> Connection:
        connection = self._database.engine.take(use.deadline)
        try:
            session = Session.of(connection)
            session.limit_reads(use.deadline)
            session.use = use
        except BaseException:
            self._database.engine.put_back(connection)
            raise
        return connection
