"""Attempts to log in that were not right, or not yet, counted by email."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, DateTime, Integer, LargeBinary, Table, case, delete, select
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
    """The attempts in a row for an email."""
    found = select(login_failures).where(login_failures.c.email_digest == email_digest)
    row = session.execute(found).one_or_none()
    return None if row is None else Failures(count=row.failures, until=row.until)


def count(session: Connection, email_digest: bytes, *, now: datetime, until: datetime) -> Failures:
    """Count one more, to be remembered ``until`` then; those that are out of date start anew.

    Returns those before it: nobody else counts for this email until this transaction ends.
    """
    first = insert(login_failures).values(email_digest=email_digest, failures=1, until=until)
    outdated = login_failures.c.until <= now
    one_more = {
        "failures": case((outdated, 1), else_=login_failures.c.failures + 1),
        "until": until,
    }
    upsert = first.on_conflict_do_update(index_elements=["email_digest"], set_=one_more)
    counted: int = session.execute(upsert.returning(login_failures.c.failures)).scalar_one()
    expiry.forget(session, login_failures.c.email_digest, login_failures.c.until, now=now)
    return Failures(count=counted - 1, until=until)


def forget(session: Connection, email_digest: bytes) -> None:
    """Start from zero."""
    session.execute(delete(login_failures).where(login_failures.c.email_digest == email_digest))
