"""A table of one group, for a score that is quickly made."""

from __future__ import annotations

from portico.testing.cases import Table
from tests.placement.cases import metadata

TABLE = Table([metadata.answers])
