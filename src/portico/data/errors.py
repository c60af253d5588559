"""Database errors, told in the kernel's terms: a code and a reason instead of SQLSTATE."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.exc import DBAPIError

from portico import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from portico.errors import StatusError


class TransactionMisuseError(RuntimeError):
    """A mistake in the code that uses a transaction, never a matter of data or luck."""


def constraint(error: BaseException) -> str | None:
    """The name of the constraint that ``error`` broke, or None when it broke none."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return original.diag.constraint_name if isinstance(original, psycopg.Error) else None


@contextmanager
def translating(constraints: Mapping[str, Callable[[], StatusError]]) -> Iterator[None]:
    """Raise a module's own error when the block breaks one of these constraints.

    with translating({"users_email_key": lambda: errors.already_exists("EMAIL_TAKEN", "…")}):
        session.execute(insert(users), row)

    Every other error passes. The transaction is lost either way: the error must leave its unit of work.
    """
    try:
        yield
    except DBAPIError as error:
        make = constraints.get(constraint(error) or "")
        if make is None:
            raise
        raise make() from error


def translated(error: BaseException) -> StatusError | None:
    """The kernel's error for a database error that a caller can act on; None for all others.

    The others (a broken constraint that no module expected, a faulty statement) are mistakes in the
    program: they pass as they are and become INTERNAL.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(original, psycopg.Error):
        return None
    state = original.sqlstate or ""
    for prefix, make in _BY_STATE.items():
        if state.startswith(prefix):
            return make()
    if isinstance(original, psycopg.OperationalError):
        return _unavailable()
    return None


def pool_exhausted(size: int, seconds: float) -> StatusError:
    """No connection came free in time."""
    return errors.resource_exhausted(
        "DATABASE_POOL_EXHAUSTED",
        f"all {size} database connections of this process were busy for {seconds:.3g} s",
        pool_size=size,
    )


def out_of_time() -> StatusError:
    """The deadline of the call has passed."""
    return errors.deadline_exceeded(
        "DEADLINE_EXCEEDED", "the time for this call was over before its work was done"
    )


def outcome_unknown() -> StatusError:
    """The connection broke while the answer to COMMIT was on its way."""
    return errors.unavailable(
        "TRANSACTION_OUTCOME_UNKNOWN",
        "the database went away during the commit: it may have happened or not",
    )


def _unavailable() -> StatusError:
    return errors.unavailable("DATABASE_UNAVAILABLE", "the database cannot be reached")


# SQLSTATE classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_STATE: dict[str, Callable[[], StatusError]] = {
    "57014": out_of_time,  # query_canceled: statement_timeout, the kernel cancels for nothing else
    "40001": lambda: errors.aborted(
        "TRANSACTION_CONFLICT", "another transaction changed the same data; try again"
    ),
    "40P01": lambda: errors.aborted(
        "DEADLOCK", "two transactions waited for each other; try again"
    ),
    "55P03": lambda: errors.aborted(
        "LOCK_TIMEOUT", "another transaction held the same data for too long; try again"
    ),
    "53": lambda: errors.resource_exhausted(
        "DATABASE_OUT_OF_RESOURCES", "the database has no room left"
    ),
    "57P": _unavailable,
    "08": _unavailable,
    "25P03": _unavailable,
}
