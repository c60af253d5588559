"""Families of refresh tokens: all that came from one log-in, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, DateTime, LargeBinary, Table, Text, select, update
from sqlalchemy.dialects.postgresql import insert

from emporium.auth import model
from emporium.auth.model import RefreshToken
from emporium.auth.store import expiry, metadata
from emporium.auth.store.accounts import credentials
from portico.data import translating

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

families = Table(
    "families",
    metadata,
    Column("family_id", Text, primary_key=True),
    Column("user_id", Text),
    Column("opened_at", DateTime(timezone=True)),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
)
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_digest", LargeBinary, primary_key=True),
    Column("family_id", Text),
    Column("issued_at", DateTime(timezone=True)),
    Column("spent_at", DateTime(timezone=True)),
)


def add(
    session: Connection, family_id: str, user_id: str, *, now: datetime, expires_at: datetime
) -> None:
    """Open a family. Raises CREDENTIALS_INVALID when the account was removed meanwhile."""
    row = {
        "family_id": family_id,
        "user_id": user_id,
        "opened_at": now,
        "expires_at": expires_at,
    }
    with translating({"families_user_id_fkey": model.credentials_invalid}):
        session.execute(insert(families).values(row))


def add_token(session: Connection, digest: bytes, family_id: str, *, now: datetime) -> None:
    """Note the newest token of a family; the one before must be spent."""
    row = {"token_digest": digest, "family_id": family_id, "issued_at": now}
    session.execute(insert(refresh_tokens).values(row))


def lock_token(session: Connection, digest: bytes) -> RefreshToken | None:
    """The token, which nobody else spends and whose family nobody else ends until this transaction ends."""
    row = session.execute(
        select(refresh_tokens, families, credentials.c.roles)
        .join_from(refresh_tokens, families, refresh_tokens.c.family_id == families.c.family_id)
        .join(credentials, credentials.c.user_id == families.c.user_id)
        .where(refresh_tokens.c.token_digest == digest)
        # Both: of a row that is not locked, a statement that had to wait sees an old version.
        .with_for_update(of=[refresh_tokens, families])
    ).one_or_none()
    if row is None:
        return None
    return RefreshToken(
        digest=row.token_digest,
        family_id=row.family_id,
        user_id=row.user_id,
        roles=row.roles,
        expires_at=row.expires_at,
        revoked=row.revoked_at is not None,
        spent=row.spent_at is not None,
    )


def spend(session: Connection, token: RefreshToken, *, now: datetime, expires_at: datetime) -> None:
    """Mark a locked token as spent; its family lives on until ``expires_at``."""
    mine = refresh_tokens.c.token_digest == token.digest
    session.execute(update(refresh_tokens).where(mine).values(spent_at=now))
    its = families.c.family_id == token.family_id
    session.execute(update(families).where(its).values(expires_at=expires_at))


def revoke(session: Connection, token_digest: bytes, *, now: datetime) -> None:
    """End the family of the token, if there is one that has not ended."""
    of_token = (
        select(refresh_tokens.c.family_id)
        .where(refresh_tokens.c.token_digest == token_digest)
        .scalar_subquery()
    )
    living = families.c.revoked_at.is_(None)
    session.execute(
        update(families).where(families.c.family_id == of_token, living).values(revoked_at=now)
    )


def forget_expired(session: Connection, *, now: datetime) -> None:
    """Remove some families that have expired, with their tokens."""
    expiry.forget(session, families.c.family_id, families.c.expires_at, now=now)
