"""Events for a later moment: the ends of holds."""

from __future__ import annotations

from alembic import op

from portico.events import schema

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    schema.add_later_v1(op, "inventory")
