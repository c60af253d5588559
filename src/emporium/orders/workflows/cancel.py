"""Cancelling an order, whatever else happens to it at that moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from commerce.inventory.v1.inventory_service_pb2 import ReleaseRequest
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub

from emporium.orders import model, store, wire
from emporium.orders.model import CancelReason, IllegalMove, Order, Status, cancel_request
from emporium.orders.workflows import money
from portico.data import Database
from portico.events import Events
from portico.workflow import Step, Workflow, Workflows


@dataclass
class Cancelling:
    """The state of ``orders.cancel_order``: plain data. ``at`` is in seconds since 1970.

    ``reason`` is a ``CancelReason``; ``only_unpaid`` leaves an order alone that is no longer CREATED. The
    first step fills in the rest, ``amount`` in minor units. ``over``: there is nothing to do, since
    the order had been cancelled before or is left alone.
    """

    order_id: str
    reason: str
    at: int
    request_id: str = ""
    only_unpaid: bool = False
    over: bool = False
    was_paid: bool = False
    payment_id: str = ""
    amount: int = 0
    currency: str = ""


def cancel_key(state: Cancelling) -> str:
    """The name of the run: another request_id is to be noted too, though there is nothing left to cancel."""
    kind = "cancel-unpaid" if state.only_unpaid else "cancel"
    return f"{state.order_id}/{kind}/{state.reason}/{state.request_id}"


class CancelOrder:
    """``orders.cancel_order``: the order ends, and neither money nor stock is kept for it.

    The order comes first, under its lock: whoever gets that lock first moves the order, and everybody
    after finds it moved. From there on the workflow only goes forward, through steps that can always
    be done in the end; there is nothing to undo. Rows of several modules are locked in this order:
    order, payment, stock.
    """

    def __init__(
        self,
        *,
        workflows: Workflows,
        database: Database,
        events: Events,
        inventory: InventoryServiceStub,
        payments: PaymentsServiceStub,
    ) -> None:
        self._workflows = workflows
        self._database = database
        self._events = events
        self._inventory = inventory
        self._payments = payments
        workflow = Workflow(
            name="orders.cancel_order",
            version=1,
            steps=[
                Step("order", self._end, pivot=True),
                Step("payment", self._settle, at=PaymentsServiceStub),
                Step("stock", self._release, at=InventoryServiceStub),
            ],
            subject=lambda state: state.order_id,
        )
        self.workflow = workflows.define(workflow, state=Cancelling)

    def run(self, state: Cancelling) -> None:
        """Cancel the order. Raises ORDER_NOT_FOUND, ORDER_NOT_CANCELLABLE, REQUEST_ID_REUSED."""
        self._workflows.run(self.workflow, state, key=cancel_key(state))

    def _end(self, state: Cancelling) -> None:
        with self._database.unit_of_work() as session:
            order = store.lock(session, state.order_id)
            if order is None:
                raise model.order_not_found(state.order_id)
            request = cancel_request(
                customer_id=order.customer_id, order_id=order.order_id, request_id=state.request_id
            )
            store.claim(session, request, order_id=order.order_id)
            if _has_no_use(order, state):
                state.over = True
                return
            ended = _ended(order, state)
            store.save(session, ended)
            state.was_paid = order.status is Status.PAID
            state.payment_id = order.payment_id
            state.amount, state.currency = order.total, order.currency
            event = wire.order_cancelled(ended, was_paid=state.was_paid)
            self._events.publish(session, event, aggregate_id=order.order_id)

    def _settle(self, state: Cancelling) -> None:
        if state.over:
            return
        give_back = money.refund if state.was_paid else money.void_or_refund
        give_back(
            self._payments,
            payment_id=state.payment_id,
            order_id=state.order_id,
            amount=state.amount,
            currency=state.currency,
        )

    def _release(self, state: Cancelling) -> None:
        if not state.over:
            self._inventory.Release(ReleaseRequest(reservation_id=state.order_id))


def _has_no_use(order: Order, state: Cancelling) -> bool:
    if state.only_unpaid:
        return order.status is not Status.CREATED
    return order.status is Status.CANCELLED


def _ended(order: Order, state: Cancelling) -> Order:
    try:
        return order.cancelled(CancelReason(state.reason), at=datetime.fromtimestamp(state.at, UTC))
    except IllegalMove:
        raise model.not_cancellable(order) from None
