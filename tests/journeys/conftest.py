from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journeys.served import Served, new_folder
from tests.journeys.shopper import Shopper


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The program, started once; journeys leave it running."""
    with new_folder() as folder:
        program = Served(folder)
        program.start()
        yield program
        program.close()


@pytest.fixture
def own() -> Iterator[Served]:
    """A program of the test's own, to be stopped and killed at will."""
    with new_folder() as folder:
        program = Served(folder)
        program.start()
        yield program
        program.close()


@pytest.fixture
def demo(served: Served) -> Shopper:
    """The demonstration's customer."""
    return Shopper.log_in(served.rest, "demo@example.com", "demo-password")


@pytest.fixture
def admin(served: Served) -> Shopper:
    """The demonstration's administrator."""
    return Shopper.log_in(served.rest, "admin@example.com", "admin-password")
