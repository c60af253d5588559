"""The inbox table of one module: which events its reactions have dealt with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection


def received(
    session: Connection, schema: str, *, event_id: UUID, consumer: str, at: datetime
) -> bool:
    """Note that ``consumer`` gets this event; False when it had it before.

    The note commits with the effect of the event, so the two are never apart. Of two deliveries at
    the same moment the second waits for the first and then learns how it ended.
    """
    row = {"event_id": event_id, "consumer": consumer, "at": at}
    return session.exec_driver_sql(_INSERT.format(schema=schema), row).rowcount == 1


def has(session: Connection, schema: str, *, event_id: UUID, consumer: str) -> bool:
    """Whether ``consumer`` has had this event before."""
    row = {"event_id": event_id, "consumer": consumer}
    return bool(session.exec_driver_sql(_HAS.format(schema=schema), row).scalar())


def forget(session: Connection, schema: str, *, event_id: UUID, consumer: str) -> None:
    """As if ``consumer`` had never had this event."""
    row = {"event_id": event_id, "consumer": consumer}
    session.exec_driver_sql(_FORGET.format(schema=schema), row)


def lock(session: Connection, schema: str, *, aggregate: Sequence[str]) -> bool:
    """Be the only one who reacts in this module to events of ``aggregate``, until the transaction ends.

    False when somebody else is.
    """
    key = "\n".join((schema, *aggregate))
    return bool(session.exec_driver_sql(_LOCK, {"key": key}).scalar_one())


_INSERT = """
INSERT INTO "{schema}".inbox (event_id, consumer, received_at) VALUES (%(event_id)s, %(consumer)s, %(at)s)
ON CONFLICT DO NOTHING
"""

_HAS = """
SELECT EXISTS (SELECT FROM "{schema}".inbox WHERE event_id = %(event_id)s AND consumer = %(consumer)s)
"""

_FORGET = 'DELETE FROM "{schema}".inbox WHERE event_id = %(event_id)s AND consumer = %(consumer)s'

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%(key)s, 0))"
