"""An event as it travels between processes, and as it lies in a table."""

from __future__ import annotations

from datetime import UTC
from uuid import UUID

from portico.events.outbox import Record
from portico.v1 import events_service_pb2 as pb


def event_of(record: Record, *, follow: bool) -> pb.Event:
    """The message for a record that is for a module; ``follow``: somebody waits for what comes of it."""
    headers = record.headers
    event = pb.Event(
        id=str(record.id),
        module=record.module,
        type=record.type,
        aggregate_type=record.aggregate_type,
        aggregate_id=record.aggregate_id,
        payload=bytes(record.payload),
        request_id=headers["request_id"],
        trace_id=headers["trace_id"],
        span_id=headers["span_id"],
        sampled=headers.get("sampled", True),
        subject=headers["subject"],
        roles=headers["roles"],
        follow=follow,
    )
    event.occurred_at.FromDatetime(record.occurred_at)
    return event


def record_of(event: pb.Event) -> Record:
    """The record again; attempts are the sender's business."""
    headers = {
        "request_id": event.request_id,
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "sampled": event.sampled,
        "subject": event.subject,
        "roles": list(event.roles),
    }
    return Record(
        UUID(event.id),
        event.aggregate_type,
        event.aggregate_id,
        event.type,
        event.payload,
        headers,
        event.occurred_at.ToDatetime(UTC),
        0,
        None,
        event.module,
    )
