"""Two who want the same order at the same moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.journeys import invariants
from tests.journeys.served import Served
from tests.journeys.shopper import Answer, Shopper, notification, signature, webhook

_ROUNDS = 16


def at_once(*acts: Callable[[], Answer]) -> list[Answer]:
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], Answer]) -> Answer:
        start.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def test_cancelling_and_paying_at_once_ends_cancelled_with_no_money_kept(served: Served) -> None:
    """Sometimes the provider wins and is refunded, sometimes the customer and the payment is void."""
    shopper = Shopper.log_in(served.rest, "demo@example.com", "demo-password")
    payments = Counter()  # type: Counter[str]
    for _ in range(_ROUNDS):
        order = shopper.order(shopper.place().json["orderId"])
        body = notification(order)

        told, cancelled = at_once(
            lambda body=body: webhook(served.rest, body, signature(body)),  # type: ignore[misc]
            lambda order=order: cancel(shopper, order),  # type: ignore[misc]
        )

        assert told.status == 200
        assert cancelled.status == 200, cancelled
        assert cancelled.json["status"] == "CANCELLED"
        payment = shopper.send("GET", f"/api/v1/payments/{order['paymentId']}").json
        payments[payment["status"]] += 1

    assert set(payments) <= {"VOIDED", "REFUNDED"}
    with served.database() as outside:
        invariants.await_rest(outside)


def test_many_cancellations_of_a_paid_order_refund_it_once(served: Served) -> None:
    shopper = Shopper.log_in(served.rest, "demo@example.com", "demo-password")
    order = shopper.order(shopper.place().json["orderId"])
    body = notification(order)
    webhook(served.rest, body, signature(body))

    answers = at_once(*[lambda: cancel(shopper, order)] * 8)

    assert {(answer.status, answer.json["status"]) for answer in answers} == {(200, "CANCELLED")}
    refunds_of = "SELECT count(*) FROM payments.refunds WHERE payment_id = %s"
    with served.database() as outside:
        invariants.await_rest(outside)
        (refunds,) = outside.execute(refunds_of, [order["paymentId"]]).fetchall()
    assert refunds == (1,)


def cancel(shopper: Shopper, order: Any) -> Answer:
    return shopper.send("POST", f"/api/v1/orders/{order['orderId']}:cancel", {})
