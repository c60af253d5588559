"""What an order is and how it may change: rules alone, no input or output, no clock."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from portico import errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from portico.context import Identity
    from portico.errors import StatusError

ADMIN = "admin"
ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
PLACE_ORDER = "orders.place_order"
"""The name of the workflow that places an order."""


class Status(StrEnum):
    """Where an order stands."""

    CREATED = "CREATED"
    PAID = "PAID"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"
    RETURNED = "RETURNED"


class CancelReason(StrEnum):
    """Why an order was cancelled."""

    REQUESTED = "REQUESTED"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    HOLD_EXPIRED = "HOLD_EXPIRED"
    NOT_PLACED = "NOT_PLACED"


MOVES = {
    Status.CREATED: {Status.PAID, Status.CANCELLED},
    Status.PAID: {Status.SHIPPED, Status.CANCELLED},
    Status.SHIPPED: {Status.DELIVERED},
    Status.DELIVERED: {Status.RETURNED},
    Status.CANCELLED: set(),
    Status.RETURNED: set(),
}
"""From each status the ones that may follow; every path through it ends."""


class IllegalMove(Exception):  # noqa: N818  # the name of the refusal, not of a fault
    """An order was to go where its status does not lead."""

    def __init__(self, order: Order, to: Status) -> None:
        super().__init__(f"order {order.order_id} is {order.status} and cannot become {to}")


class BeingPlaced(Exception):  # noqa: N818  # where the order stands, not a fault
    """The order is not placed yet and may never be: nothing but its own workflow moves it. To be tried again."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} is being placed")


@dataclass(frozen=True, slots=True)
class Item:
    """What somebody asked for: ``quantity`` pieces of one product."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an order as it was when the order was placed; ``unit_price`` in minor units."""

    product_id: str
    title: str
    quantity: int
    unit_price: int

    @property
    def total(self) -> int:
        """Minor units, exactly."""
        return self.quantity * self.unit_price


def total_of(lines: tuple[Line, ...]) -> int:
    """What the lines come to, in minor units, exactly."""
    return sum(line.total for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a customer bought. Times are whole seconds; ``total`` and prices are minor units of ``currency``."""

    order_id: str
    customer_id: str
    status: Status
    lines: tuple[Line, ...]
    currency: str
    payment_method: str
    payment_id: str
    created_at: datetime
    updated_at: datetime
    cancel_reason: CancelReason | None = None

    @property
    def total(self) -> int:
        """The sum of all line totals, in minor units."""
        return total_of(self.lines)

    def paid(self, *, at: datetime) -> Order:
        """The order once it is paid in full. Raises IllegalMove."""
        return self._moved(Status.PAID, at)

    def cancelled(self, reason: CancelReason, *, at: datetime) -> Order:
        """The order once it is given up before it was shipped. Raises IllegalMove."""
        return replace(self._moved(Status.CANCELLED, at), cancel_reason=reason)

    def shipped(self, *, at: datetime) -> Order:
        """The order once it is on its way. Raises IllegalMove."""
        return self._moved(Status.SHIPPED, at)

    def delivered(self, *, at: datetime) -> Order:
        """The order once it has arrived. Raises IllegalMove."""
        return self._moved(Status.DELIVERED, at)

    def returned(self, *, at: datetime) -> Order:
        """The order once it has come back. Raises IllegalMove."""
        return self._moved(Status.RETURNED, at)

    def _moved(self, to: Status, at: datetime) -> Order:
        if to not in MOVES[self.status]:
            raise IllegalMove(self, to)
        # Two machines' clocks may differ: an order is never changed before it was made.
        return replace(self, status=to, updated_at=max(at, self.updated_at))


class Operation(StrEnum):
    """What a request_id was sent with; the same one may name a request of each kind."""

    PLACE = "PLACE"
    CANCEL = "CANCEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A customer's request that may come again; ``fingerprint`` (hex) tells other content from the same."""

    customer_id: str
    operation: Operation
    request_id: str
    fingerprint: str


def place_request(
    *, customer_id: str, items: tuple[Item, ...], payment_method: str, request_id: str
) -> Request:
    """The request to place an order, with a fingerprint of everything it asks for."""
    content = [customer_id, [[item.product_id, item.quantity] for item in items], payment_method]
    return Request(
        customer_id=customer_id,
        operation=Operation.PLACE,
        request_id=request_id,
        fingerprint=_digest(content),
    )


def cancel_request(*, customer_id: str, order_id: str, request_id: str) -> Request:
    """The request to cancel one order of a customer."""
    return Request(
        customer_id=customer_id,
        operation=Operation.CANCEL,
        request_id=request_id,
        fingerprint=_digest([order_id]),
    )


def run_key(request: Request, *, order_id: str) -> str:
    """The name of the workflow run that answers ``request``: the same for every repeat of it."""
    if not request.request_id:
        return order_id
    return _digest(
        [request.operation, request.customer_id, request.request_id, request.fingerprint]
    )


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a list of orders, newest first: behind the order that it names."""

    created_at: datetime
    order_id: str


def _digest(content: Sequence[object]) -> str:
    # JSON keeps apart what a mere concatenation would not: ["ab", "c"] and ["a", "bc"].
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


# Who may see what, and refusals


def may_see(customer_id: str, identity: Identity) -> bool:
    """Whether ``identity`` may see what is this customer's, and act for the customer."""
    return identity.subject == customer_id or ADMIN in identity.roles


def customer_mismatch(customer_id: str) -> StatusError:
    """The refusal to act for somebody else."""
    return errors.permission_denied(
        "CUSTOMER_MISMATCH", "you may do this for yourself only", customer_id=customer_id
    )


def order_not_found(order_id: str) -> StatusError:
    """The answer for an order that does not exist, or not for the caller."""
    return errors.not_found(ORDER_NOT_FOUND, "there is no such order", order_id=order_id)


def not_cancellable(order: Order) -> StatusError:
    """The refusal to cancel an order that has gone too far."""
    return errors.failed_precondition(
        "ORDER_NOT_CANCELLABLE",
        f"this order is {order.status.lower()} and can no longer be cancelled",
        order_id=order.order_id,
        status=order.status,
    )


def request_id_reused(request: Request) -> StatusError:
    """The refusal of a request_id that came before with other content."""
    return errors.already_exists(
        REQUEST_ID_REUSED,
        "this request_id (REST: Idempotency-Key) was used for something else; take a new one",
        request_id=request.request_id,
    )
