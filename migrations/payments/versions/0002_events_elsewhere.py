"""Events on their way to modules in other processes."""

from __future__ import annotations

from alembic import op

from portico.events import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.add_elsewhere_v1(op, "payments")
