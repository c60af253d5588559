"""One script over every channel, as a fixture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from portico.telemetry import logs
from portico.testing import parity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from portico.rpc.policy import Policy


class Agree(Protocol):
    """Runs a script over channels, fails unless all outcomes are the same, and returns the outcome."""

    def __call__(
        self,
        populate: Callable[[Any], None],
        script: Callable[[Any], Any],
        *,
        over: Iterable[parity.Transport] = parity.EVERY,
        policy: Policy | None = None,
    ) -> Any: ...


@pytest.fixture
def agree() -> Agree:
    def agree(
        populate: Callable[[Any], None],
        script: Callable[[Any], Any],
        *,
        over: Iterable[parity.Transport] = parity.EVERY,
        policy: Policy | None = None,
    ) -> Any:
        found = parity.outcomes(populate, script, over=over, policy=policy)
        differences = parity.differences(found)
        assert not differences, "\n".join(differences)
        return next(iter(found.values()))

    return agree


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Errors that are provoked here go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    logs.configure(level="error", descriptor=nowhere)
    yield
    logs.configure(level="warning")
    os.close(nowhere)
