"""The demonstration's stock."""

from __future__ import annotations

import threading
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


def test_loading_it_has_one_level_at_a_time_so_that_no_buyer_deadlocks_with_it(
    stockroom: Any, demonstration: Any
) -> None:
    """It waits for the last product, and does not keep the first from whoever it waits for."""
    demonstration.load()
    first, *_, last = PIECES
    lock = "SELECT FROM inventory.levels WHERE product_id = %s FOR NO KEY UPDATE"
    waiting = """SELECT EXISTS (SELECT FROM pg_locks
        WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"""
    loading = threading.Thread(target=demonstration.load)
    with stockroom.database.unit_of_work() as session:
        session.exec_driver_sql(lock, (last,))
        loading.start()
        while not session.exec_driver_sql(waiting).scalar():
            assert loading.is_alive(), "it does not lock what it adjusts"
        session.exec_driver_sql(f"{lock} NOWAIT", (first,))
    loading.join()


def test_every_product_has_some(stockroom: Any, demonstration: Any) -> None:
    demonstration.load()
    assert len(PIECES) == 12
    assert all(stockroom.stock(product).on_hand > 0 for product in PIECES)
