"""Whoever waits for a level goes on with the level as it is then, not as it was when the wait began."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from emporium.inventory.model import Adjustment, Line
from emporium.inventory.settings import InventorySettings
from emporium.inventory.stockroom import Stockroom
from portico.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    Act = Callable[[Connection, "Shop"], object]

_PATIENCE_SECONDS = 10


class Shop:
    """One product with reservations in every state. Of 10 pieces 8 are held: 2 by ``held``, 6 by others.

    ``sold`` had 3 more, which are gone; ``expired`` had 2, which are free again.
    """

    def __init__(self, stockroom: Any) -> None:
        self.behind = stockroom
        self.room = Stockroom(
            events=stockroom.events, clock=stockroom.clock, settings=InventorySettings()
        )
        self.product = stockroom.stocked(13)
        self.expired = stockroom.held({self.product: 2}, 1)
        stockroom.clock.advance(seconds=1)
        self.sold = stockroom.held({self.product: 3}, 3600)  # `expired` has to give its pieces up
        stockroom.commit(self.sold)
        self.held = stockroom.held({self.product: 2}, 3600)
        self.other = stockroom.held({self.product: 6}, 3600)
        assert self.numbers() == (10, 8)

    def numbers(self) -> tuple[int, int]:
        numbers: tuple[int, int] = self.behind.numbers(self.product)
        return numbers

    def adjust(self, session: Connection, delta: int) -> None:
        change = Adjustment(product_id=self.product, delta=delta, note="", request_id="")
        self.room.adjust(session, change)

    def hold(self, session: Connection, pieces: int) -> None:
        lines = (Line(self.product, pieces),)
        self.room.reserve(session, self.behind.new_id("ord"), lines, hold_seconds=60)

    def meet(self, first: Act, second: Act) -> str:
        """Let ``second`` wait for the level that ``first`` has changed; what becomes of it."""
        ended: list[str] = []

        def wait() -> None:
            try:
                with self.behind.database.unit_of_work() as session:
                    second(session, self)
                ended.append("done")
            except StatusError as refusal:
                ended.append(refusal.reason)
            except Exception as error:  # noqa: BLE001  # whatever it is, the test compares it
                ended.append(repr(error))

        waiter = threading.Thread(target=wait)
        with self.behind.database.unit_of_work() as session:
            first(session, self)
            waiter.start()
            self._await_waiter(session)
        waiter.join(_PATIENCE_SECONDS)
        [answer] = ended
        return answer

    def _await_waiter(self, session: Connection) -> None:
        blocked = (
            "SELECT EXISTS (SELECT FROM pg_locks"
            " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )
        until = time.monotonic() + _PATIENCE_SECONDS
        while not session.exec_driver_sql(blocked).scalar():
            assert time.monotonic() < until, "the second does not wait"
            time.sleep(0.002)


def delivery(session: Connection, shop: Shop) -> None:
    shop.adjust(session, 5)


def delivery_and_its_buyer(session: Connection, shop: Shop) -> None:
    shop.adjust(session, 5)
    shop.hold(session, 6)


def loss(session: Connection, shop: Shop) -> None:
    shop.adjust(session, -2)


def greater_loss(session: Connection, shop: Shop) -> None:
    shop.adjust(session, -6)


def hold(session: Connection, shop: Shop) -> None:
    shop.hold(session, 2)


def hold_more_than_there_was(session: Connection, shop: Shop) -> None:
    shop.hold(session, 4)


def commit(session: Connection, shop: Shop) -> None:
    shop.room.commit(session, shop.held)


def commit_expired(session: Connection, shop: Shop) -> None:
    shop.room.commit(session, shop.expired)


def release(session: Connection, shop: Shop) -> None:
    shop.room.release(session, shop.held)


def release_other(session: Connection, shop: Shop) -> None:
    shop.room.release(session, shop.other)


def commit_other(session: Connection, shop: Shop) -> None:
    shop.room.commit(session, shop.other)


def bring_back(session: Connection, shop: Shop) -> None:
    shop.room.release(session, shop.sold)


FIRST: dict[Act, tuple[int, int]] = {
    delivery: (5, 0),
    delivery_and_its_buyer: (5, 6),
    loss: (-2, 0),
    hold: (0, 2),
    commit_other: (-6, -6),
    release_other: (0, -6),
    bring_back: (3, 0),
}
"""What may come first, and what it adds to the two numbers."""

SECOND: dict[Act, tuple[int, int]] = {
    delivery: (5, 0),
    loss: (-2, 0),
    greater_loss: (-6, 0),
    hold: (0, 2),
    hold_more_than_there_was: (0, 4),
    commit: (-2, -2),
    commit_expired: (-2, 0),
    release: (0, -2),
    bring_back: (3, 0),
}
"""What may have to wait."""

REFUSALS: dict[Act, str] = {
    loss: "STOCK_TOO_LOW",
    greater_loss: "STOCK_TOO_LOW",
    hold: "INSUFFICIENT_STOCK",
    hold_more_than_there_was: "INSUFFICIENT_STOCK",
    commit_expired: "INSUFFICIENT_STOCK",
}


PAIRS = [(first, second) for first in FIRST for second in SECOND]
PAIRS.remove((bring_back, bring_back))  # one reservation comes back once


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda act: act.__name__)
def test_two_changes_of_one_level_at_once_end_as_if_one_came_after_the_other(
    stockroom: Any, first: Act, second: Act
) -> None:
    """Refused is only what the level cannot bear once the first is through."""
    shop = Shop(stockroom)
    after = (10 + FIRST[first][0], 8 + FIRST[first][1])
    then = (after[0] + SECOND[second][0], after[1] + SECOND[second][1])

    answer = shop.meet(first, second)

    if then[1] <= then[0]:
        assert (answer, shop.numbers()) == ("done", then)
    else:
        assert (answer, shop.numbers()) == (REFUSALS[second], after)
