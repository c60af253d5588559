"""The table of cases that hold over every transport; ``make parity`` prints its score."""

from __future__ import annotations

from portico.testing.cases import Table
from tests.placement.cases import (
    access,
    channels,
    context,
    endings,
    futures,
    identity,
    interceptors,
    metadata,
    nesting,
    rules,
    streams,
)

TABLE = Table(
    group
    for subject in (
        endings,
        nesting,
        streams,
        metadata,
        futures,
        interceptors,
        channels,
        context,
        identity,
        access,
        rules,
    )
    for group in subject.GROUPS
)
