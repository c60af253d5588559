"""The log of the workflows that orders runs where its neighbours live in other processes."""

from __future__ import annotations

from alembic import op

from portico.workflow import schema

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the log."""
    schema.create_v1(op, "orders")
