"""Wrong passwords, counted by email."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, DateTime, Integer, LargeBinary, Select, Table, case, delete, select
from sqlalchemy.dialects.postgresql import insert

from emporium.auth.model import Failures
from emporium.auth.store import expiry, metadata

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

login_failures = Table(
    "login_failures",
    metadata,
    Column("email_digest", LargeBinary, primary_key=True),
    Column("failures", Integer),
    Column("until", DateTime(timezone=True)),
)


def read(session: Connection, email_digest: bytes) -> Failures | None:
    """The wrong passwords in a row for an email."""
    return _found(session, _of(email_digest))


def lock(session: Connection, email_digest: bytes) -> Failures | None:
    """The same, and nobody counts another one until this transaction ends."""
    return _found(session, _of(email_digest).with_for_update())


def count(session: Connection, email_digest: bytes, *, now: datetime, until: datetime) -> None:
    """Count one more, to be remembered ``until`` then; those that are out of date start anew."""
    first = insert(login_failures).values(email_digest=email_digest, failures=1, until=until)
    outdated = login_failures.c.until <= now
    one_more = {
        "failures": case((outdated, 1), else_=login_failures.c.failures + 1),
        "until": until,
    }
    session.execute(first.on_conflict_do_update(index_elements=["email_digest"], set_=one_more))
    expiry.forget(session, login_failures.c.email_digest, login_failures.c.until, now=now)


def forget(session: Connection, email_digest: bytes) -> None:
    """Start from zero."""
    session.execute(delete(login_failures).where(login_failures.c.email_digest == email_digest))


def _of(email_digest: bytes) -> Select[Any]:
    return select(login_failures).where(login_failures.c.email_digest == email_digest)


def _found(session: Connection, one: Select[Any]) -> Failures | None:
    row = session.execute(one).one_or_none()
    return None if row is None else Failures(count=row.failures, until=row.until)
