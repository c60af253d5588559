"""The table of cases that hold over every transport; ``make parity`` prints its score."""

from __future__ import annotations

from portico.testing.cases import Table
from tests.placement.cases import (
    access,
    channels,
    context,
    disabled,
    endings,
    futures,
    identity,
    interceptors,
    messages,
    metadata,
    nesting,
    repeats,
    requests,
    responses,
    stopping,
    validation,
)

TABLE = Table(
    group
    for subject in (
        endings,
        nesting,
        responses,
        requests,
        stopping,
        metadata,
        messages,
        futures,
        interceptors,
        channels,
        context,
        identity,
        access,
        validation,
        repeats,
        disabled,
    )
    for group in subject.GROUPS
)
