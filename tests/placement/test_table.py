"""A stub cannot tell which way its calls go: every case of the table, over every transport."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from portico.telemetry import logs
from portico.testing.running import Runner
from tests.placement.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.testing.cases import Case


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Errors that are provoked here go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    logs.configure(level="error", descriptor=nowhere)
    yield
    logs.configure(level="warning")
    os.close(nowhere)


# grpcio's own thread that asks for a channel's state complains when the channel closes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("case", tuple(TABLE), ids=str)
def test_every_transport_agrees_on(runner: Runner, case: Case) -> None:
    result = runner.run(case)

    assert not result.missing
    assert not result.differences, "\n".join(map(str, result.differences))
