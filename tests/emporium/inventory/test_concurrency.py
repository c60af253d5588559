"""Many at once: nothing is oversold, nothing waits for ever, everybody gets a clear answer."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from portico.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable


def at_once(threads: int, work: Callable[[int], str]) -> Counter[str]:
    """Let so many threads start together; count what they answer, or the reasons they are refused with."""
    together = threading.Barrier(threads)

    def one(number: int) -> str:
        together.wait()
        try:
            return work(number)
        except StatusError as refusal:
            return refusal.reason

    with ThreadPoolExecutor(threads) as pool:
        return Counter(pool.map(one, range(threads)))


def test_64_buyers_of_the_last_10_pieces_get_10(stockroom: Any) -> None:
    product = stockroom.stocked(10)
    orders = [stockroom.new_id("ord") for _ in range(64)]

    def buy(number: int) -> str:
        stockroom.reserve(orders[number], {product: 1})
        return "held"

    assert at_once(64, buy) == {"held": 10, "INSUFFICIENT_STOCK": 54}
    assert stockroom.numbers(product) == (10, 10)


def test_the_same_reservation_asked_for_16_times_at_once_is_held_once(stockroom: Any) -> None:
    product, order = stockroom.stocked(20), stockroom.new_id("ord")

    def reserve(_: int) -> str:
        return str(stockroom.reserve(order, {product: 2}).status)

    assert at_once(16, reserve) == {"1": 16}
    assert stockroom.numbers(product) == (20, 2)


def test_a_delivery_booked_8_times_at_once_arrives_once(stockroom: Any) -> None:
    product, key = stockroom.new_id("prod"), stockroom.new_id("delivery")

    def book(_: int) -> str:
        return str(stockroom.adjust(product, 5, request_id=key).on_hand)

    assert at_once(8, book) == {"5": 8}
    assert stockroom.numbers(product) == (5, 0)


def test_one_request_id_for_two_products_at_once_books_one_and_leaves_nothing_of_the_other(
    stockroom: Any,
) -> None:
    for _ in range(10):
        products, key = [stockroom.new_id("prod") for _ in range(2)], stockroom.new_id("delivery")

        def book(number: int, products: list[str] = products, key: str = key) -> str:
            return str(stockroom.adjust(products[number % 2], 5, request_id=key).on_hand)

        assert at_once(4, book) == {"5": 2, "REQUEST_ID_REUSED": 2}
        stocked = "SELECT on_hand FROM inventory.levels WHERE product_id = ANY(:products)"
        assert stockroom.query(stocked, products=products) == [(5,)]


def test_commit_and_release_of_one_reservation_do_not_both_win(stockroom: Any) -> None:
    for _ in range(10):
        product = stockroom.stocked(4)
        order = stockroom.held({product: 3})

        def end(number: int, order: str = order) -> str:
            if number % 2:
                stockroom.release(order)
                return "released"
            stockroom.commit(order)
            return "committed"

        answers = at_once(4, end)
        assert answers["released"] == 2
        assert answers["committed"] + answers["RESERVATION_ENDED"] == 2
        assert stockroom.numbers(product) == (4, 0)


def test_release_that_overtakes_its_reserve_leaves_nothing_held(stockroom: Any) -> None:
    for _ in range(10):
        product, order = stockroom.stocked(4), stockroom.new_id("ord")

        def race(number: int, product: str = product, order: str = order) -> str:
            if number:
                stockroom.release(order)
            else:
                stockroom.reserve(order, {product: 3})
            return "done"

        assert set(at_once(2, race)) <= {"done", "RESERVATION_ENDED"}
        assert stockroom.numbers(product) == (4, 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_crossing_lines_neither_deadlocks_nor_loses_a_piece(
    stockroom: Any, seed: int
) -> None:
    """Each thread reserves the same products in an order of its own, and ends what it holds in any way."""
    products = [stockroom.stocked(40) for _ in range(4)]

    def storm(number: int) -> str:
        random = Random(f"{seed}/{number}")
        for _ in range(6):
            lines = {product: random.randint(1, 3) for product in random.sample(products, 3)}
            order = stockroom.new_id("ord")
            try:
                stockroom.reserve(order, lines, random.choice([1, 3600]))
            except StatusError as refusal:
                if refusal.reason != "INSUFFICIENT_STOCK":
                    raise
                continue
            if random.random() < 0.2:
                stockroom.clock.advance(seconds=1)  # some holds of the others are overdue now
            if random.random() < 0.8:
                random.choice([stockroom.release, stockroom.commit])(order)
        return "done"

    answers = at_once(24, storm)
    # A commit may find its expired pieces gone.
    assert set(answers) <= {"done", "INSUFFICIENT_STOCK"}
    check_laws(stockroom)


def test_a_storm_of_holds_deliveries_and_releases_does_not_deadlock(stockroom: Any) -> None:
    """A delivery changes one level, the others several, and all of them the same few."""
    products = [stockroom.stocked(1_000) for _ in range(4)]

    def storm(number: int) -> str:
        random = Random(number)
        for _ in range(12):
            stockroom.adjust(random.choice(products), random.choice([5, 2, -1]))
            lines = {product: random.randint(1, 3) for product in random.sample(products, 3)}
            stockroom.release(stockroom.held(lines))
        return "done"

    assert at_once(24, storm) == {"done": 24}
    check_laws(stockroom)


def test_a_repeated_reserve_does_not_wait_for_ever_for_a_commit(stockroom: Any) -> None:
    """The repeat finds the shelf empty, and looks at the reservation that is being committed."""
    for _ in range(10):
        products = [stockroom.stocked(3), stockroom.stocked(3)]
        order, lines = stockroom.new_id("ord"), dict.fromkeys(products, 3)
        stockroom.reserve(order, lines)

        def repeat_or_commit(number: int, order: str = order, lines: dict[str, int] = lines) -> str:
            if number % 2:
                stockroom.commit(order)
            else:
                stockroom.reserve(order, lines)
            return "done"

        assert at_once(6, repeat_or_commit) == {"done": 6}


def test_hundreds_of_overdue_holds_are_ended_while_many_reserve(stockroom: Any) -> None:
    product, other = stockroom.stocked(300), stockroom.stocked(300)
    for _ in range(150):
        stockroom.held({product: 2, other: 2}, 60)
    stockroom.clock.advance(seconds=60)

    def reserve(number: int) -> str:
        first, second = (product, other) if number % 2 else (other, product)
        stockroom.reserve(stockroom.new_id("ord"), {first: 10, second: 10})
        return "held"

    answers = at_once(24, reserve)
    # Whoever comes while another ends the overdue holds may still be refused, but never wrongly served.
    assert set(answers) <= {"held", "INSUFFICIENT_STOCK"}
    check_laws(stockroom)


def check_laws(stockroom: Any) -> None:
    """Levels are what movements and reservations add up to, and nothing is oversold."""
    oversold = "SELECT * FROM inventory.levels WHERE reserved < 0 OR reserved > on_hand"
    assert stockroom.query(oversold) == []
    wrong = stockroom.query("""
        SELECT level.product_id, level.on_hand, level.reserved, moved.on_hand, moved.reserved, held.pieces
        FROM inventory.levels AS level
        LEFT JOIN (SELECT product_id, sum(on_hand) AS on_hand, sum(reserved) AS reserved
                   FROM inventory.movements GROUP BY product_id) AS moved USING (product_id)
        LEFT JOIN (SELECT line.product_id, sum(line.quantity) AS pieces
                   FROM inventory.reservation_lines AS line
                   JOIN inventory.reservations AS one USING (reservation_id)
                   WHERE one.status = 'HELD' GROUP BY line.product_id) AS held USING (product_id)
        WHERE (level.on_hand, level.reserved) IS DISTINCT FROM (moved.on_hand, moved.reserved)
           OR level.reserved <> coalesce(held.pieces, 0)""")
    assert wrong == []
