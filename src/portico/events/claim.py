"""Claiming events: a transaction around their delivery, in which nothing else takes part."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from portico.data.session import Session, Use
from portico.data.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from portico.data import Database


@contextmanager
def claiming(database: Database) -> Iterator[Connection]:
    """A transaction of its own, which no reaction joins and no call is made in.

    When this process dies before it ends, the claim ends with its connection and another relay
    delivers again; the inboxes know what was done already.
    """
    use = Use(database.schema, read_only=False, deadline=None)
    claim = Transaction(database.engine, use, outer=None)
    try:
        yield claim.connection
    except BaseException:
        claim.rollback()
        raise
    claim.commit()


def keep_open(session: Connection) -> None:
    """Let a claim that has found something last for as long as its delivery takes.

    Its commit need not reach the disk: were the marks lost with the server, the events would come
    again, to inboxes that know them.
    """
    Session.of(session).send(
        "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL synchronous_commit = off"
    )
