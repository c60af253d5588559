from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journeys.served import Served, new_folder


@pytest.fixture
def own() -> Iterator[Served]:
    """A program of the test's own, to be killed at will."""
    with new_folder() as folder:
        program = Served(folder)
        program.start()
        yield program
        program.close()
