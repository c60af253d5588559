"""Credentials: who may log in, and as what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, DateTime, LargeBinary, Select, Table, Text, delete, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from emporium.auth import model
from emporium.auth.model import Account
from emporium.auth.store import metadata
from portico.data import translating
from portico.workflow import forget, under_way

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from emporium.auth.model import SignUp

credentials = Table(
    "credentials",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("email", Text),
    Column("password_hash", Text),
    Column("roles", ARRAY(Text, as_tuple=True)),
    Column("request_id", Text),
    Column("request_digest", LargeBinary),
    Column("created_at", DateTime(timezone=True)),
)

# Where users live elsewhere, the credentials are there before the user is: until then nobody logs in with them.
_IS_SIGNED_UP = ~under_way(credentials.c.user_id, schema="auth", workflow=model.SIGN_UP)


def add(session: Connection, sign_up: SignUp, *, now: datetime) -> None:
    """Make the account; again, for the same user_id, does nothing.

    Raises EMAIL_TAKEN, or REQUEST_ID_REUSED when another account came of the request.
    """
    row = {
        "user_id": sign_up.user_id,
        "email": sign_up.email,
        "password_hash": sign_up.password_hash,
        "roles": sign_up.roles,
        "request_id": sign_up.request_id or None,
        "request_digest": bytes.fromhex(sign_up.request_digest) or None,
        "created_at": now,
    }
    refusals = {
        "credentials_email_key": model.email_taken,
        "credentials_request_id_key": lambda: model.request_id_reused(sign_up.request_id),
    }
    with translating(refusals):
        session.execute(
            insert(credentials).values(row).on_conflict_do_nothing(index_elements=["user_id"])
        )


def remove(session: Connection, user_id: str) -> None:
    """Leave nothing of the account, its families included."""
    session.execute(delete(credentials).where(credentials.c.user_id == user_id))


def forget_sign_up(session: Connection, user_id: str) -> None:
    """Leave nothing of how the account was made: that names the email too."""
    forget(session, schema="auth", subject=user_id)


def of_email(session: Connection, email: str) -> Account | None:
    """The account that logs in with a canonical email."""
    one = select(credentials).where(credentials.c.email == email, _IS_SIGNED_UP)
    return _account(session, one)


def of_request(session: Connection, request_id: str) -> Account | None:
    """The account that a sign-up with this request_id has made."""
    one = select(credentials).where(credentials.c.request_id == request_id, _IS_SIGNED_UP)
    return _account(session, one)


def known(session: Connection, user_ids: Sequence[str]) -> set[str]:
    """Those of the users who have an account."""
    found = select(credentials.c.user_id).where(credentials.c.user_id.in_(user_ids))
    return set(session.execute(found).scalars())


def replace_hash(session: Connection, account: Account, password_hash: str) -> None:
    """Keep a better hash of the same password, unless the password was changed meanwhile."""
    session.execute(
        update(credentials)
        .where(
            credentials.c.user_id == account.user_id,
            credentials.c.password_hash == account.password_hash,
        )
        .values(password_hash=password_hash)
    )


def _account(session: Connection, one: Select[Any]) -> Account | None:
    row = session.execute(one).one_or_none()
    if row is None:
        return None
    return Account(
        user_id=row.user_id,
        roles=row.roles,
        password_hash=row.password_hash,
        request_digest=row.request_digest or b"",
    )
