"""The tables of the application's modules, with what the kernel keeps beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.events import schema as events_schema
from portico.lab.travel import reservations, trips
from portico.workflow import schema as workflow_schema

if TYPE_CHECKING:
    from portico.events.schema import Operations

MODULES = (reservations.NAME, trips.NAME)

MIGRATION = '''"""The tables of {module}."""

from alembic import op

from portico.lab.travel import schema

revision = "0001"
down_revision = None


def upgrade():
    schema.create(op, "{module}")
'''


def create(op: Operations, module: str) -> None:
    """Make the tables of ``module``; called by its only migration, ``MIGRATION``."""
    for statement in {reservations.NAME: reservations.TABLES, trips.NAME: trips.TABLES}[module]:
        op.execute(statement)
    events_schema.create_v1(op, module)
    events_schema.add_elsewhere_v1(op, module)
    if module == trips.NAME:
        workflow_schema.create_v1(op, module)
