"""Publishing: an event is a row written with the change that it tells of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from portico.context import Identity, Origin, current
from portico.data import TransactionMisuseError, on_commit
from portico.data.transaction import transaction_of
from portico.events.outbox import Outbox
from portico.events.timetable import Later
from portico.telemetry.spans import nearest

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.message import Message
    from sqlalchemy import Connection

    from portico.clock import Clock
    from portico.context import Call
    from portico.data import Database
    from portico.events.doorbell import Doorbell
    from portico.ids import Ids


class Events:
    """One module's way to say what has happened."""

    def __init__(self, database: Database, *, clock: Clock, ids: Ids, doorbell: Doorbell) -> None:
        """``doorbell`` is rung after each commit that published."""
        self._outbox = Outbox(database.schema)
        self._later = Later(database.schema)
        self._clock = clock
        self._ids = ids
        self._doorbell = doorbell

    def publish(
        self,
        session: Connection,
        message: Message,
        *,
        aggregate_id: str,
        at: datetime | None = None,
    ) -> str:
        """Tell that ``message`` has happened, as soon as the unit of work of ``session`` commits.

        One INSERT. Events of one ``aggregate_id`` (the id of the order, the payment, ...) reach each
        reaction in the order they were published.

        With ``at`` it is delivered then, up to a second later, as if it were published at that moment: what
        is published for its aggregate before then does not wait for it. The module's migrations must have
        made the table for that, with ``portico.events.schema.add_later_v1``.

        Answers the event's id, a UUID that sorts by time.
        Raises ``TransactionMisuseError`` outside a unit of work: the change and its event would not be one.
        """
        if transaction_of(session) is None:
            raise TransactionMisuseError(
                "an event is published inside the unit of work that makes it true"
            )
        if not aggregate_id:
            raise ValueError(f"{message.DESCRIPTOR.name} needs the id of what it happened to")
        event_id = self._ids.uuid()
        call = current()
        row = {
            "id": event_id,
            "aggregate_type": self._outbox.schema,
            "aggregate_id": aggregate_id,
            "type": message.DESCRIPTOR.full_name,
            "payload": message.SerializeToString(),
            "headers": json.dumps(_headers(call)),
            "occurred_at": at or self._clock.now(),
        }
        if at is not None:
            self._later.add(session, row)
            return str(event_id)
        self._outbox.add(session, row)
        # Now, since a relay may deliver it before anything that is to follow the commit.
        self._doorbell.following.published(call.request_id, event_id)
        on_commit(session, self._ring)
        return str(event_id)

    def withdraw(self, session: Connection, event_id: str) -> bool:
        """Take back an event that was published for later; False when its moment has come."""
        return self._later.withdraw(session, UUID(event_id))

    def _ring(self) -> None:
        self._doorbell.announce(self._outbox.schema)


def _headers(call: Call) -> dict[str, Any]:
    """Where ``call`` is traced, whatever reacts to the event is below the span that it is in now."""
    headers = headers_of(call.origin)
    span = nearest(call)
    if span is not None:
        place = span.place
        headers |= {"span_id": place.span_id, "sampled": place.sampled}
    return headers


def headers_of(origin: Origin) -> dict[str, Any]:
    """Who and what an event goes back to, as JSON."""
    identity = origin.identity
    return {
        "request_id": origin.request_id,
        "trace_id": origin.trace_id,
        "span_id": origin.span_id,
        "subject": identity.subject,
        "roles": sorted(identity.roles),
    }


def origin_of(headers: dict[str, Any]) -> Origin:
    """The same again, for the call in which a reaction runs."""
    identity = Identity(headers["subject"], frozenset(headers["roles"]))
    return Origin(identity, headers["request_id"], headers["trace_id"], headers["span_id"])
