"""Orders and webhooks that pay for them, and what must have become of those in the end."""

from __future__ import annotations

import queue
from typing import Any

import psycopg

from tests.journeys.shopper import Shopper, notification, signature, webhook

_PATIENCE_SECONDS = 60

# What must have come, once, of each event that goes from process to process; the rows are those of which it has not.
_EFFECTS = {
    "orders has heard of every payment": """
        SELECT id FROM payments.outbox WHERE type = 'commerce.payments.v1.PaymentSucceeded'
        AND id NOT IN (SELECT event_id FROM orders.inbox)
    """,
    "what was paid is PAID, and was announced once": """
        SELECT o.order_id, o.status FROM payments.payments JOIN orders.orders AS o USING (payment_id)
        WHERE payment_id IN (SELECT aggregateid FROM payments.outbox
                             WHERE type = 'commerce.payments.v1.PaymentSucceeded')
        AND NOT (o.status = 'PAID' AND 1 = (
            SELECT count(*) FROM orders.outbox
            WHERE aggregateid = o.order_id AND type = 'commerce.orders.v1.OrderPaid'))
    """,
    "the pieces of a paid order left the stock once": """
        SELECT aggregateid FROM orders.outbox WHERE type = 'commerce.orders.v1.OrderPaid'
        AND 1 <> (SELECT count(*) FROM inventory.movements
                  WHERE reservation_id = aggregateid AND kind = 'COMMITTED')
    """,
}

_PAID = "SELECT order_id FROM orders.orders WHERE status = 'PAID'"


class Trade:
    """Customers who order, and a provider who says a moment later that they have paid."""

    def __init__(self, rest: str) -> None:
        self.paid: list[str] = []
        """Orders whose webhook was accepted."""
        self._rest = rest
        self._unpaid: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._shopper = Shopper.log_in(rest, "demo@example.com", "demo-password")

    def place(self) -> str:
        """What went wrong with one more order."""
        answer = self._shopper.place(quantity=1)
        if answer.status != 201:
            return f"{answer.status} {answer.reason}"
        self._unpaid.put(answer.json)
        return ""

    def pay(self) -> str:
        """What went wrong with the webhook for an order."""
        order = self._unpaid.get(timeout=_PATIENCE_SECONDS)
        body = notification(order)
        answer = webhook(self._rest, body, signature(body))
        if answer.status != 200:
            return f"{answer.status} {answer.reason}"
        self.paid.append(order["orderId"])
        return ""

    def lost(self, outside: psycopg.Connection[Any]) -> list[str]:
        """What is wrong in a shop at rest: orders paid for that are not PAID, effects that did not come once."""
        paid = {row[0] for row in outside.execute(_PAID.encode())}
        unpaid = [f"{order} was paid" for order in self.paid if order not in paid]
        return unpaid + [
            law for law, query in _EFFECTS.items() if outside.execute(query.encode()).fetchall()
        ]
