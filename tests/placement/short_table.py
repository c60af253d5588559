"""A table of two groups, for a score that is quickly made."""

from __future__ import annotations

from portico.testing.cases import Table
from tests.placement.cases import channels, metadata

TABLE = Table([metadata.answers, channels.channels])
