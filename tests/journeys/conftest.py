from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.served import Served, fresh, own, running
from tests.journeys.shopper import Shopper

__all__ = ["admin", "demo", "fresh", "own", "served"]


@pytest.fixture(scope="session")
def served(fresh: Path) -> Iterator[Served]:
    """The program, started once; journeys leave it running."""
    with running(fresh) as program:
        yield program


@pytest.fixture
def demo(served: Served) -> Shopper:
    """The demonstration's customer."""
    return Shopper.log_in(served.rest, "demo@example.com", "demo-password")


@pytest.fixture
def admin(served: Served) -> Shopper:
    """The demonstration's administrator."""
    return Shopper.log_in(served.rest, "admin@example.com", "admin-password")
