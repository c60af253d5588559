"""Sixty-four buyers at once for the last ten pieces, in peace and with ``kill -9`` in the middle."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from tests.journeys import invariants
from tests.journeys.served import Served
from tests.journeys.shopper import Answer, Shopper, new_key

BUYERS = 64
PIECES = 10


@dataclass
class Rush:
    """The buyers in front of the last pieces, each with a request of their own."""

    program: Served
    product_id: str
    buyers: list[Shopper]
    keys: list[str]

    @staticmethod
    def prepare(program: Served, pieces: int) -> Rush:
        admin = Shopper.log_in(program.rest, "admin@example.com", "admin-password")
        price = {"currencyCode": "USD", "units": "25"}
        product = admin.send("POST", "/api/v1/products", {"title": "The last", "price": price})
        product_id = product.json["productId"]
        admin.send("POST", f"/api/v1/inventory/{product_id}:adjust", {"delta": pieces})
        with ThreadPoolExecutor(8) as pool:
            names = [f"buyer-{number}" for number in range(BUYERS)]
            buyers = list(pool.map(lambda name: Shopper.sign_up(program.rest, name), names))
        return Rush(program, product_id, buyers, [new_key() for _ in buyers])

    def place(self, number: int) -> Answer | None:
        """One buyer's attempt; None when the answer was lost."""
        buyer = replace(self.buyers[number], rest=self.program.rest)
        try:
            return buyer.place(self.product_id, 1, Idempotency_Key=self.keys[number])
        except (OSError, http.client.HTTPException):
            return None

    def all_at_once(self) -> list[Answer | None]:
        start = threading.Barrier(BUYERS)

        def attempt(number: int) -> Answer | None:
            start.wait()
            return self.place(number)

        with ThreadPoolExecutor(BUYERS) as pool:
            return list(pool.map(attempt, range(BUYERS)))

    def stock(self) -> tuple[int, int]:
        return replace(self.buyers[0], rest=self.program.rest).stock(self.product_id)

    def orders(self) -> list[str]:
        """What the database has, whoever asks."""
        query = "SELECT order_id FROM orders.order_items WHERE product_id = %s ORDER BY order_id"
        with self.program.database() as outside:
            return [row[0] for row in outside.execute(query, [self.product_id])]

    def violations(self) -> list[str]:
        with self.program.database() as outside:
            return invariants.violations(outside)


def test_the_last_ten_pieces_go_to_ten_buyers_and_the_others_are_told(own: Served) -> None:
    rush = Rush.prepare(own, PIECES)

    answers = rush.all_at_once()

    assert Counter(answer and (answer.status, answer.reason) for answer in answers) == {
        (201, ""): PIECES,
        (400, "INSUFFICIENT_STOCK"): BUYERS - PIECES,
    }
    placed = sorted(
        answer.json["orderId"] for answer in answers if answer and answer.json.get("orderId")
    )
    assert rush.orders() == placed
    assert rush.stock() == (PIECES, PIECES)
    assert rush.violations() == []
    assert all(
        answer.metadata["available"] == "0"
        for answer in answers
        if answer is not None and answer.status == 400
    )


def test_after_kill_9_in_the_middle_every_order_is_whole_and_every_buyer_gets_the_answer(
    own: Served,
) -> None:
    rush = Rush.prepare(own, PIECES)
    first = _killed_after(rush, orders=3)
    own.start()

    known = {n: answer.json["orderId"] for n, answer in first.items() if answer.status == 201}
    assert set(known.values()) <= set(rush.orders())
    assert rush.violations() == []

    again = rush.all_at_once()

    statuses = Counter(answer and (answer.status, answer.reason) for answer in again)
    assert statuses == {
        (201, ""): PIECES,
        (400, "INSUFFICIENT_STOCK"): BUYERS - PIECES,
    }
    assert all(again[n].json["orderId"] == order_id for n, order_id in known.items())  # type: ignore[union-attr]
    assert len(rush.orders()) == PIECES
    assert rush.stock() == (PIECES, PIECES)
    assert rush.violations() == []


def test_after_kill_9_under_a_load_that_finds_stock_no_order_is_half_made(own: Served) -> None:
    rush = Rush.prepare(own, 10 * BUYERS)
    for _ in range(2):
        first = _killed_after(rush, orders=len(rush.orders()) + 8)
        own.start()
        known = {answer.json["orderId"] for answer in first.values() if answer.status == 201}
        assert known <= set(rush.orders())
        assert rush.violations() == []
        rush.keys = [new_key() for _ in rush.buyers]

    orders = len(rush.orders())
    assert rush.stock() == (10 * BUYERS, orders)


def _killed_after(rush: Rush, *, orders: int) -> dict[int, Answer]:
    """Let all buyers in and kill the program when so many orders are there; the answers that came."""
    answers: dict[int, Answer] = {}

    def attempt(number: int) -> None:
        answer = rush.place(number)
        if answer is not None:
            answers[number] = answer

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(BUYERS)]
    with rush.program.database() as outside:
        query = "SELECT count(*) FROM orders.order_items WHERE product_id = %s"
        for thread in threads:
            thread.start()
        while outside.execute(query, [rush.product_id]).fetchone()[0] < orders:  # type: ignore[index]
            pass
        rush.program.kill()
    for thread in threads:
        thread.join()
    return answers
