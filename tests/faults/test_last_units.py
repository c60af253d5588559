"""Sixty-four buyers at once for the last ten pieces, in peace and with ``kill -9`` in the middle."""

from __future__ import annotations

import http.client
import threading
import time
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
        with ThreadPoolExecutor(4) as pool:  # more at once than can be hashed are refused
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
    answered = {number: rush.place(number) for number in range(3)}
    _kill_while_they_wait(rush, range(3, BUYERS))
    own.start()

    known = {number: answer.json["orderId"] for number, answer in answered.items() if answer}
    assert rush.orders() == sorted(known.values())
    assert rush.stock() == (PIECES, 3)
    assert rush.violations() == []

    again = rush.all_at_once()

    assert Counter(answer and (answer.status, answer.reason) for answer in again) == {
        (201, ""): PIECES,
        (400, "INSUFFICIENT_STOCK"): BUYERS - PIECES,
    }
    assert known == {n: answer.json["orderId"] for n in known if (answer := again[n])}
    assert len(rush.orders()) == PIECES
    assert rush.stock() == (PIECES, PIECES)
    assert rush.violations() == []


def test_after_kill_9_at_any_moment_of_a_load_no_order_is_half_made(own: Served) -> None:
    rush = Rush.prepare(own, 10 * BUYERS)
    for _ in range(2):
        answered = _kill_after(rush, orders=len(rush.orders()) + 8)
        own.start()
        assert {answer.json["orderId"] for answer in answered} <= set(rush.orders())
        assert rush.violations() == []
        rush.keys = [new_key() for _ in rush.buyers]

    assert rush.stock() == (10 * BUYERS, len(rush.orders()))


def _kill_while_they_wait(rush: Rush, buyers: range) -> None:
    """Stop the buyers' transactions half-way, at the stock, and kill the program there."""
    threads = [threading.Thread(target=rush.place, args=(number,)) for number in buyers]
    waiting = "SELECT count(*) >= 4 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    holder, observer = rush.program.database(), rush.program.database()
    holder.autocommit = False
    holder.execute(
        "SELECT FROM inventory.levels WHERE product_id = %s FOR UPDATE", [rush.product_id]
    )
    for thread in threads:
        thread.start()
    while observer.execute(waiting).fetchone() != (True,):
        time.sleep(0.01)
    rush.program.kill()
    for thread in threads:
        thread.join()
    holder.close()
    observer.close()


def _kill_after(rush: Rush, *, orders: int) -> list[Answer]:
    """Let all buyers in and kill the program when so many orders are there; the orders it answered."""
    answers: list[Answer | None] = []
    threads = [
        threading.Thread(target=lambda number=number: answers.append(rush.place(number)))
        for number in range(BUYERS)
    ]
    enough = "SELECT count(*) >= %s FROM orders.order_items WHERE product_id = %s"
    with rush.program.database() as outside:
        for thread in threads:
            thread.start()
        while outside.execute(enough, [orders, rush.product_id]).fetchone() != (True,):
            pass  # no rest: it is to be hit in the middle
        rush.program.kill()
    for thread in threads:
        thread.join()
    return [answer for answer in answers if answer is not None and answer.status == 201]
