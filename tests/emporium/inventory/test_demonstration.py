"""The demonstration's stock."""

from __future__ import annotations

from typing import Any

import pytest

from emporium.inventory.demonstration import PIECES, Demonstration
from emporium.inventory.settings import InventorySettings
from emporium.inventory.stockroom import Stockroom


@pytest.fixture
def demonstration(stockroom: Any) -> Demonstration:
    room = Stockroom(events=stockroom.events, clock=stockroom.clock, settings=InventorySettings())
    return Demonstration(database=stockroom.database, stockroom=room)


def test_a_restart_brings_nothing_back_that_was_sold(stockroom: Any, demonstration: Any) -> None:
    demonstration.load()
    assert stockroom.numbers("prod_7721") == (1_000, 0)
    stockroom.commit(stockroom.held({"prod_7721": 2}))
    stockroom.held({"prod_7721": 3})
    demonstration.load()
    assert stockroom.numbers("prod_7721") == (998, 3)


def test_every_product_has_some(stockroom: Any, demonstration: Any) -> None:
    demonstration.load()
    assert len(PIECES) == 12
    assert all(stockroom.stock(product).on_hand > 0 for product in PIECES)
