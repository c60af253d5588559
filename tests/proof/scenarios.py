"""What is asked of the shop in a case, and what must have come of it in the end: one class for each way to go."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from portico.testing.faults import Fault
from tests.journeys.shopper import Answer, new_key, notification, request, signature, webhook
from tests.proof.columns import CALLEE_AFTER, CALLEE_BEFORE, COLUMNS, LOST

if TYPE_CHECKING:
    import psycopg

    from tests.proof.stand import Stand

_MANY = 1_000_000
_PATIENCE_SECONDS = 20.0
_PAUSE_SECONDS = 0.05

_PLACED = """
SELECT count(*) FROM orders.orders WHERE cancel_reason IS DISTINCT FROM 'NOT_PLACED'
"""

# As `cancel_order` leaves it when its process ends between its first two steps, and the stock is free again.
_CANCELLED_HALF_WAY = """
WITH cancelled AS (
    UPDATE orders.orders SET status = 'CANCELLED', cancel_reason = 'REQUESTED' WHERE order_id = %(order)s
), released AS (
    UPDATE inventory.reservations SET status = 'RELEASED' WHERE reservation_id = %(order)s
), moved AS (
    INSERT INTO inventory.movements (product_id, kind, on_hand, reserved, reservation_id, moved_at)
    SELECT product_id, 'RELEASED', 0, -quantity, reservation_id, now()
    FROM inventory.reservation_lines WHERE reservation_id = %(order)s
)
UPDATE inventory.levels AS level SET reserved = level.reserved - line.quantity
FROM inventory.reservation_lines AS line
WHERE line.reservation_id = %(order)s AND line.product_id = level.product_id
"""


class Scenario(ABC):
    """One request to one workflow; an object for each case."""

    workflow: ClassVar[str]
    begins: ClassVar[str]
    """How the names of what calls it begin: an rpc, a reaction."""
    way: ClassVar[str]
    """Which way through the workflow, for the name of a case."""
    refusal: ClassVar[str] = ""
    """The reason with which it is refused in the end; empty for a success."""
    columns: ClassVar[tuple[str, ...]] = COLUMNS
    """Which faults to try; those left out are tried on a like way."""
    waits_for_answer: ClassVar[bool] = False
    """Whether laws may be broken until the request has been answered: its sender repeats it until then."""
    condition: ClassVar[tuple[str, Fault] | None] = None
    """What is so all the time: a module, and a fault in its process."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.key = new_key()

    def prepare(self) -> None:
        """Do what has to have happened before; what follows from it is waited for."""
        return

    def arrange(self) -> None:
        """Do what can only be done behind everybody's back, once all of that has come to rest."""
        return

    @abstractmethod
    def ask(self) -> Answer:
        """Send the request, always the same."""

    @abstractmethod
    def essence(self, answer: Answer) -> object:
        """What must be the same in every answer."""

    def complaints(self, before: Any) -> list[str]:
        """What is wrong in the end; ``before`` is what ``count`` said."""
        return []

    def count(self) -> Any:
        """Counted before the request, for ``complaints``."""
        return None

    def _scalar(self, query: str, *values: Any) -> Any:
        row = self.stand.outside.execute(query.encode(), values).fetchone()
        return None if row is None else row[0]


class Placing(Scenario):
    """An order that is paid at once."""

    workflow = "orders.place_order"
    begins = "OrdersService/PlaceOrder"
    way = "placed"
    method = "pm_instant"

    def ask(self) -> Answer:
        body = self.stand.customer.basket(paymentMethod=self.method)
        return self.stand.customer.send("POST", "/api/v1/orders", body, Idempotency_Key=self.key)

    def essence(self, answer: Answer) -> object:
        if answer.status != 201:
            return answer.status, answer.reason
        return tuple(answer.json[name] for name in ("orderId", "paymentId", "totalAmount"))

    def count(self) -> int:
        return placed_orders(self.stand.outside)

    def complaints(self, before: Any) -> list[str]:
        more = self.count() - before
        return [] if more == 1 else [f"one request placed {more} orders"]


class PlacingUnpaid(Placing):
    """An order that nobody pays for now: should it be undone, no provider's answer sets right what was left out."""

    way = "unpaid"
    method = "pm_visa_9832"
    columns = (CALLEE_BEFORE, CALLEE_AFTER, LOST)


class PlacingRefused(Placing):
    """An order whose payment nobody takes: what the steps before it did is undone."""

    way = "refused"
    method = "pm_unheard_of"
    refusal = "PAYMENT_METHOD_NOT_FOUND"

    def essence(self, answer: Answer) -> object:
        return answer.status, answer.reason

    def complaints(self, before: Any) -> list[str]:
        return [] if self.count() == before else ["a refused request placed an order"]


class Cancelling(Scenario):
    """An order that nobody has paid yet."""

    workflow = "orders.cancel_order"
    begins = "OrdersService/CancelOrder"
    way = "unpaid"
    method = "pm_visa_9832"
    ends = ("CANCELLED", "VOIDED", 0)

    def prepare(self) -> None:
        self.order_id = _place(self.stand, self.method)["orderId"]

    def ask(self) -> Answer:
        path = f"/api/v1/orders/{self.order_id}:cancel"
        return self.stand.customer.send("POST", path, {}, Idempotency_Key=self.key)

    def essence(self, answer: Answer) -> object:
        if answer.status != 200:
            return answer.status, answer.reason
        return answer.json["orderId"], answer.json["status"]

    def complaints(self, before: Any) -> list[str]:
        ended = _ended(self.stand.outside, self.order_id)
        return [] if ended == self.ends else [f"a cancelled order ended as {ended}"]


class CancellingPaid(Cancelling):
    """An order that is paid: the money goes back."""

    way = "paid"
    method = "pm_instant"
    ends = ("CANCELLED", "REFUNDED", 1)


class Refunding(Scenario):
    """Money that comes in for an order after its end: PaymentSucceeded has it sent back."""

    workflow = "orders.refund_order"
    begins = "orders.FollowUps.on_refund_due"
    way = "late money"
    waits_for_answer = True

    def prepare(self) -> None:
        self.order = _place(self.stand, "pm_visa_9832")

    def arrange(self) -> None:
        self.stand.outside.execute(_CANCELLED_HALF_WAY.encode(), {"order": self.order["orderId"]})

    def ask(self) -> Answer:
        body = notification(self.order)
        return webhook(self.stand.processes.rest, body, signature(body))

    def essence(self, answer: Answer) -> object:
        return answer.status, answer.reason

    def complaints(self, before: Any) -> list[str]:
        ended = _ended(self.stand.outside, self.order["orderId"])
        return [] if ended == ("CANCELLED", "REFUNDED", 1) else [f"late money ended as {ended}"]


class SigningUp(Scenario):
    """A new account."""

    workflow = "auth.sign_up"
    begins = "AuthService/Register"
    way = "signed up"

    def ask(self) -> Answer:
        return request(
            self.stand.processes.rest,
            "POST",
            "/api/v1/auth/register",
            {"email": self.email, "password": "correct-horse", "displayName": "Somebody"},
            {"Idempotency-Key": self.key},
        )

    @property
    def email(self) -> str:
        return f"{self.key}@example.com"

    def essence(self, answer: Answer) -> object:
        if answer.status != 201:
            return answer.status, answer.reason
        return answer.json["userId"]

    def complaints(self, before: Any) -> list[str]:
        users = self._scalar("SELECT count(*) FROM users.users WHERE email = %s", self.email)
        expected = 0 if self.refusal else 1
        return [] if users == expected else [f"one sign-up made {users} users"]


class SigningUpRefused(SigningUp):
    """An account that users refuses: its credentials go again."""

    way = "refused"
    refusal = "REFUSED"
    condition = (
        "users",
        Fault(point="rpc UsersService/CreateUser before", action="refuse", times=_MANY),
    )

    def essence(self, answer: Answer) -> object:
        return answer.status, answer.reason


SCENARIOS: tuple[type[Scenario], ...] = (
    Placing,
    PlacingUnpaid,
    PlacingRefused,
    Cancelling,
    CancellingPaid,
    Refunding,
    SigningUp,
    SigningUpRefused,
)


def placed_orders(outside: psycopg.Connection[Any]) -> int:
    """How many orders were ever placed."""
    return int(outside.execute(_PLACED.encode()).fetchall()[0][0])


def _place(stand: Stand, method: str) -> Any:
    """An order that is there; what the case before has left closed opens again within a moment."""
    body, key = stand.customer.basket(paymentMethod=method), new_key()
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        answer = stand.customer.send("POST", "/api/v1/orders", body, Idempotency_Key=key)
        if answer.status == 201:
            return answer.json
        assert time.monotonic() < until, answer
        time.sleep(_PAUSE_SECONDS)


def _ended(outside: psycopg.Connection[Any], order_id: str) -> Any:
    query = """
        SELECT o.status, p.status, (SELECT count(*) FROM payments.refunds WHERE payment_id = o.payment_id)
        FROM orders.orders AS o JOIN payments.payments AS p USING (payment_id) WHERE o.order_id = %s
    """
    return outside.execute(query, [order_id]).fetchone()
