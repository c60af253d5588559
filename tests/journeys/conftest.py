from __future__ import annotations

import pytest

from tests.journeys.served import Served, carrier, fresh, own, served, topology
from tests.journeys.shopper import Shopper

__all__ = ["admin", "carrier", "demo", "fresh", "own", "served", "topology"]


@pytest.fixture
def demo(served: Served) -> Shopper:
    """The demonstration's customer."""
    return Shopper.log_in(served.rest, "demo@example.com", "demo-password")


@pytest.fixture
def admin(served: Served) -> Shopper:
    """The demonstration's administrator."""
    return Shopper.log_in(served.rest, "admin@example.com", "admin-password")
