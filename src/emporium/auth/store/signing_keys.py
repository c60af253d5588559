"""The keys that sign access tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, DateTime, LargeBinary, Select, Table, Text, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from emporium.auth.store import metadata

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("private_key", LargeBinary),
    Column("public_key", LargeBinary),
    Column("created_at", DateTime(timezone=True)),
    Column("retired_at", DateTime(timezone=True)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """An Ed25519 key, raw: 32 bytes each half."""

    key_id: str
    private_key: bytes = field(repr=False)
    public_key: bytes
    created_at: datetime


def active(session: Connection) -> SigningKey | None:
    """The one that signs."""
    found = session.execute(_active_first(signing_keys.c.retired_at.is_(None)))
    row = found.one_or_none()
    return None if row is None else _key(row)


def since(session: Connection, *, retired_after: datetime) -> list[SigningKey]:
    """The one that signs, then those that did until after that moment, the newest first."""
    wanted = or_(signing_keys.c.retired_at.is_(None), signing_keys.c.retired_at > retired_after)
    return [_key(row) for row in session.execute(_active_first(wanted))]


def add(session: Connection, key: SigningKey) -> None:
    """Make it the active one, unless there is one already; waits for another who does the same."""
    row = {
        "key_id": key.key_id,
        "private_key": key.private_key,
        "public_key": key.public_key,
        "created_at": key.created_at,
    }
    session.execute(insert(signing_keys).values(row).on_conflict_do_nothing())


def retire_active(session: Connection, *, now: datetime) -> None:
    """Let the active one sign no more."""
    signs = signing_keys.c.retired_at.is_(None)
    session.execute(update(signing_keys).where(signs).values(retired_at=now))


def _active_first(wanted: Any) -> Select[Any]:
    newest_first = signing_keys.c.retired_at.desc().nulls_first()
    return select(signing_keys).where(wanted).order_by(newest_first)


def _key(row: Any) -> SigningKey:
    return SigningKey(
        key_id=row.key_id,
        private_key=row.private_key,
        public_key=row.public_key,
        created_at=row.created_at,
    )
