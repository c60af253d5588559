"""The kernel's tables in a module's schema, made by the module's own migrations.

A function here is frozen once a release contains it: migrations that ran must mean the same for ever.
A change is a new function that a new migration calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Operations(Protocol):
        """What is used of ``alembic.op``."""

        def execute(self, sqltext: str) -> None:
            """Run one statement."""


# Names and types of id, aggregatetype, aggregateid, type and payload are those that Debezium's outbox
# event router expects; bytes are routed with its BinaryDataConverter.
_OUTBOX_V1 = """
CREATE TABLE "{schema}".outbox (
    id              uuid PRIMARY KEY,
    sequence        bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    aggregatetype   text NOT NULL,
    aggregateid     text NOT NULL,
    type            text NOT NULL,
    payload         bytea NOT NULL,
    headers         jsonb NOT NULL,
    occurred_at     timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    delivered_at    timestamptz,
    dead_at         timestamptz,
    last_error      text,
    CONSTRAINT outbox_one_end CHECK (delivered_at IS NULL OR dead_at IS NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.02)
"""
_PENDING_V1 = """
CREATE INDEX outbox_pending ON "{schema}".outbox (sequence)
WHERE delivered_at IS NULL AND dead_at IS NULL
"""
_INBOX_V1 = """
CREATE TABLE "{schema}".inbox (
    event_id    uuid NOT NULL,
    consumer    text NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, consumer)
)
"""
# A row for each module in another process that an event is for. It is not a foreign key, whose check would wait
# for the row that a relay has claimed.
_ELSEWHERE_V1 = """
CREATE TABLE "{schema}".outbox_elsewhere (
    event_id        uuid NOT NULL,
    module          text NOT NULL,
    sequence        bigint NOT NULL,
    aggregatetype   text NOT NULL,
    aggregateid     text NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    delivered_at    timestamptz,
    dead_at         timestamptz,
    last_error      text,
    PRIMARY KEY (event_id, module),
    CONSTRAINT outbox_elsewhere_one_end CHECK (delivered_at IS NULL OR dead_at IS NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.02)
"""
_ELSEWHERE_PENDING_V1 = """
CREATE INDEX outbox_elsewhere_pending ON "{schema}".outbox_elsewhere (module, sequence)
WHERE delivered_at IS NULL AND dead_at IS NULL
"""
_LATER_V1 = """
CREATE TABLE "{schema}".outbox_later (
    id            uuid PRIMARY KEY,
    aggregatetype text NOT NULL,
    aggregateid   text NOT NULL,
    type          text NOT NULL,
    payload       bytea NOT NULL,
    headers       jsonb NOT NULL,
    deliver_at    timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02)
"""
_LATER_DUE_V1 = 'CREATE INDEX outbox_later_due ON "{schema}".outbox_later (deliver_at)'


def create_v1(op: Operations, schema: str) -> None:
    """Make ``outbox`` and ``inbox`` in ``schema``; called by a module's first migration."""
    for statement in (_OUTBOX_V1, _PENDING_V1, _INBOX_V1):
        op.execute(statement.format(schema=schema))


def add_elsewhere_v1(op: Operations, schema: str) -> None:
    """Make ``outbox_elsewhere`` in ``schema``: the events that modules in other processes have to get."""
    for statement in (_ELSEWHERE_V1, _ELSEWHERE_PENDING_V1):
        op.execute(statement.format(schema=schema))


def add_later_v1(op: Operations, schema: str) -> None:
    """Make ``outbox_later`` in ``schema``, for a module that publishes events for a later moment."""
    for statement in (_LATER_V1, _LATER_DUE_V1):
        op.execute(statement.format(schema=schema))
