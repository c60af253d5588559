"""Users, and the events about them."""

from __future__ import annotations

from alembic import op

from portico.events import schema

revision = "0001"
down_revision = None

# An erased user is a row with nothing but its id: it keeps the id taken, for ever.
_USERS = """
CREATE TABLE users.users (
    user_id        text NOT NULL,
    email          text,
    display_name   text,
    request_id     text,
    request_digest bytea,
    created_at     timestamptz NOT NULL,
    erased_at      timestamptz,
    CONSTRAINT users_pkey PRIMARY KEY (user_id),
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_request_id_key UNIQUE (request_id),
    CONSTRAINT users_email_canonical CHECK (email = lower(email)),
    CONSTRAINT users_whole_or_erased CHECK (
        num_nonnulls(email, display_name, request_id, request_digest)
            = CASE WHEN erased_at IS NULL THEN 4 ELSE 0 END)
)
"""


def upgrade() -> None:
    op.execute(_USERS)
    schema.create_v1(op, "users")
