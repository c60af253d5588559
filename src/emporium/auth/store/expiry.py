"""Rows that are out of date, removed in passing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Column, Connection

_MOST_AT_A_TIME = 20


def forget(session: Connection, key: Column[Any], expires: Column[Any], *, now: datetime) -> None:
    """Delete up to 20 rows, known by ``key``, whose time in ``expires`` has come; wait for nobody."""
    outdated = (
        select(key)
        .where(expires <= now)
        .order_by(expires)
        .limit(_MOST_AT_A_TIME)
        .with_for_update(skip_locked=True)
    )
    session.execute(delete(key.table).where(key.in_(outdated)))
