"""The workflow log in a module's schema, made by the module's own migrations.

A function here is frozen once a release contains it: migrations that ran must mean the same for ever.
A change is a new function that a new migration calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portico.events.schema import Operations

_RUNS_V1 = """
CREATE TABLE "{schema}".workflow_runs (
    id              uuid NOT NULL,
    name            text NOT NULL,
    version         integer NOT NULL,
    key             text NOT NULL,
    subject         text NOT NULL,
    input           jsonb NOT NULL,
    state           jsonb NOT NULL,
    headers         jsonb NOT NULL,
    deadline_at     timestamptz,
    direction       text NOT NULL,
    status          text NOT NULL,
    step            integer NOT NULL,
    error           jsonb,
    attempts        integer NOT NULL DEFAULT 0,
    last_error      text,
    next_attempt_at timestamptz,
    owner           text NOT NULL,
    lease_until     timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT workflow_runs_pkey PRIMARY KEY (id),
    CONSTRAINT workflow_runs_direction_known CHECK (direction IN ('FORWARD', 'UNDO')),
    CONSTRAINT workflow_runs_status_known CHECK (status IN ('RUNNING', 'DONE', 'UNDONE', 'DEAD')),
    CONSTRAINT workflow_runs_end_fits_direction CHECK (CASE status
        WHEN 'DONE' THEN direction = 'FORWARD'
        WHEN 'UNDONE' THEN direction = 'UNDO' AND step = 0
        ELSE true END),
    CONSTRAINT workflow_runs_step_not_negative CHECK (step >= 0)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)
"""
# One run for a key, but for those that were undone: of them nothing is left, and the key is free again.
_KEY_V1 = """
CREATE UNIQUE INDEX workflow_runs_key ON "{schema}".workflow_runs (name, key) WHERE status <> 'UNDONE'
"""
_UNDONE_V1 = """
CREATE INDEX workflow_runs_undone ON "{schema}".workflow_runs (name, key) WHERE status = 'UNDONE'
"""
_LEASE_V1 = """
CREATE INDEX workflow_runs_lease ON "{schema}".workflow_runs (lease_until) WHERE status = 'RUNNING'
"""
_SUBJECT_V1 = 'CREATE INDEX workflow_runs_subject ON "{schema}".workflow_runs (subject, status)'
_ENDED_V1 = """
CREATE INDEX workflow_runs_ended ON "{schema}".workflow_runs (updated_at) WHERE status IN ('DONE', 'UNDONE')
"""


_WAITS_V1 = """
CREATE TABLE "{schema}".workflow_waits (
    run_id       uuid NOT NULL,
    name         text NOT NULL,
    until        timestamptz,
    value        jsonb,
    signalled_at timestamptz,
    CONSTRAINT workflow_waits_pkey PRIMARY KEY (run_id, name),
    CONSTRAINT workflow_waits_run_id_fkey FOREIGN KEY (run_id)
        REFERENCES "{schema}".workflow_runs ON DELETE CASCADE
)
"""


def create_v1(op: Operations, schema: str) -> None:
    """Make ``workflow_runs`` in ``schema``; called by a migration of a module that runs workflows."""
    for statement in (_RUNS_V1, _KEY_V1, _UNDONE_V1, _LEASE_V1, _SUBJECT_V1, _ENDED_V1):
        op.execute(statement.format(schema=schema))


def create_waits_v1(op: Operations, schema: str) -> None:
    """Make ``workflow_waits`` beside ``workflow_runs``, for a module whose workflows have a ``Wait``."""
    op.execute(_WAITS_V1.format(schema=schema))
