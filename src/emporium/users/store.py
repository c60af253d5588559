"""The table of users and every statement on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Text, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from emporium.users.model import Rival, User

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Row

    from emporium.users.model import NewUser

users = Table(
    "users",
    MetaData(schema="users"),
    Column("user_id", Text, primary_key=True),
    Column("email", Text),
    Column("display_name", Text),
    Column("request_id", Text),
    Column("request_digest", LargeBinary),
    Column("created_at", DateTime(timezone=True)),
    Column("erased_at", DateTime(timezone=True)),
)


def add(session: Connection, new: NewUser, *, now: datetime) -> User | None:
    """Make the user; None, and no change, when another row has its id, email or request.

    Of two at the same moment the second waits for the first.
    """
    row = {
        "user_id": new.user_id,
        "email": new.email,
        "display_name": new.display_name,
        "request_id": new.request_id,
        "request_digest": new.digest,
        "created_at": now,
    }
    made = session.execute(insert(users).values(row).on_conflict_do_nothing().returning(users))
    found = made.one_or_none()
    return None if found is None else _user(found)


def rivals(session: Connection, new: NewUser) -> list[Rival]:
    """The rows that keep ``new`` from being made, at most three."""
    in_the_way = or_(
        users.c.request_id == new.request_id,
        users.c.user_id == new.user_id,
        users.c.email == new.email,
    )
    return [_rival(row) for row in session.execute(select(users).where(in_the_way))]


def find(session: Connection, user_id: str) -> User | None:
    """The user, if there is one who is not erased."""
    one = select(users).where(users.c.user_id == user_id, users.c.erased_at.is_(None))
    row = session.execute(one).one_or_none()
    return None if row is None else _user(row)


def erase(session: Connection, user_id: str, *, now: datetime) -> bool:
    """Leave nothing of the user but the id; False when there was nobody to erase.

    An unknown id is taken from now on, so that a user who is made late, after the undo, is refused.
    """
    tombstone = {"user_id": user_id, "created_at": now, "erased_at": now}
    take_id = insert(users).values(tombstone).on_conflict_do_nothing().returning(users.c.user_id)
    if session.execute(take_id).one_or_none() is not None:
        return False
    empty = dict.fromkeys(("email", "display_name", "request_id", "request_digest"))
    erased = session.execute(
        update(users)
        .where(users.c.user_id == user_id, users.c.erased_at.is_(None))
        .values(**empty, erased_at=now)
    )
    return erased.rowcount == 1


def _user(row: Row[Any]) -> User:
    return User(
        user_id=row.user_id,
        email=row.email,
        display_name=row.display_name,
        created_at=row.created_at,
    )


def _rival(row: Row[Any]) -> Rival:
    return Rival(
        user_id=row.user_id,
        request_id=row.request_id,
        digest=row.request_digest,
        user=None if row.erased_at else _user(row),
    )
