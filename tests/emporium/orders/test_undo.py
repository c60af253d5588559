"""The undo of each step of ``place_order``, one at a time."""

from __future__ import annotations

from typing import Any

import pytest
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from commerce.orders.v1.events_pb2 import OrderCancelled, OrderPlaced
from commerce.orders.v1.order_pb2 import Order
from commerce.payments.v1.events_pb2 import PaymentSucceeded
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub

from emporium.orders.settings import OrdersSettings
from emporium.orders.workflows import PlaceOrder, Placing
from portico.errors import StatusError
from portico.workflow import Step, Workflow, Workflows

Shop = Any  # as in conftest


@pytest.fixture
def place_order(counter: Shop) -> PlaceOrder:
    channel = counter.harness.program.channel("orders")
    return PlaceOrder(
        workflows=Workflows(module="orders", database=counter.database),
        database=counter.database,
        events=counter.events,
        settings=OrdersSettings(),
        catalog=CatalogServiceStub(channel),
        inventory=InventoryServiceStub(channel),
        payments=PaymentsServiceStub(channel),
    )


@pytest.fixture
def state(customer: str) -> Placing:
    return Placing(
        order_id=f"ord_of_{customer}",
        payment_id=f"pay_of_{customer}",
        customer_id=customer,
        payment_method="pm_visa_9832",
        request_id="basket-42",
        fingerprint="f",
        currency="USD",
        placed_at=1_780_060_020,
        product_ids=["prod_7721"],
        quantities=[2],
    )


class Apart:
    """Each step and each undo in a transaction of its own, as where the modules live apart."""

    def __init__(self, workflows: Workflows, steps: list[Step[Placing]]) -> None:
        self._workflows = workflows
        self._steps = steps

    def run(self, state: Placing, *, until: str) -> None:
        names = [step.name for step in self._steps]
        for step in self._steps[: names.index(until) + 1]:
            self._alone(step.name, step.action, state)

    def undo(self, state: Placing, *, since: str) -> None:
        names = [step.name for step in self._steps]
        for step in reversed(self._steps[: names.index(since) + 1]):
            if step.undo is not None:
                self._alone(step.name, step.undo, state)

    def _alone(self, name: str, action: Any, state: Placing) -> None:
        self._workflows.run(
            Workflow(name="apart", version=1, steps=[Step(name, action)]), state, key=state.order_id
        )


@pytest.fixture
def apart(counter: Shop, place_order: PlaceOrder) -> Apart:
    workflows = Workflows(module="orders", database=counter.database)
    return Apart(workflows, list(place_order.workflow.steps))


def ended(shop: Shop, order_id: str) -> tuple[str, str]:
    """How an order ended, as only its row tells."""
    (row,) = shop.query(
        "SELECT status, cancel_reason FROM orders.orders WHERE order_id = :id", id=order_id
    )
    return row.status, row.cancel_reason


@pytest.mark.parametrize("since", ["price", "order", "stock", "payment"])
@pytest.mark.parametrize("times", [1, 2])
def test_what_was_done_is_undone_also_when_it_is_undone_twice(
    counter: Shop, apart: Apart, state: Placing, since: str, times: int
) -> None:
    apart.run(state, until=since)
    for _ in range(times):
        apart.undo(state, since=since)

    assert state.order_id not in counter.inventory.held
    assert counter.told(OrderPlaced, state.order_id) == []
    if since != "price":
        assert ended(counter, state.order_id) == ("CANCELLED", "NOT_PLACED")
        assert len(counter.told(OrderCancelled, state.order_id)) == 1
    if since == "payment":
        assert counter.payment(state.order_id).status == "VOIDED"


@pytest.mark.parametrize("step", ["stock", "payment"])
def test_what_was_never_done_is_undone_without_complaint(
    counter: Shop, apart: Apart, state: Placing, step: str
) -> None:
    """The answer to a step may be lost before the step has happened."""
    apart.run(state, until="order")
    apart.undo(state, since=step)

    assert ended(counter, state.order_id) == ("CANCELLED", "NOT_PLACED")


def test_an_order_that_was_never_placed_is_seen_by_nobody(
    counter: Shop, apart: Apart, state: Placing
) -> None:
    apart.run(state, until="order")
    apart.undo(state, since="order")

    with pytest.raises(StatusError, match="ORDER_NOT_FOUND"):
        counter.get(state.customer_id, state.order_id)
    with pytest.raises(StatusError, match="ORDER_NOT_FOUND"):
        counter.cancel(state.customer_id, state.order_id)
    assert not counter.listed(state.customer_id).orders


def test_money_that_was_taken_meanwhile_is_given_back(
    counter: Shop, apart: Apart, state: Placing
) -> None:
    apart.run(state, until="payment")
    counter.payments.succeed(state.payment_id)
    event = PaymentSucceeded(payment_id=state.payment_id, order_id=state.order_id)
    counter.hear(event)

    apart.undo(state, since="payment")

    (told,) = counter.told(OrderCancelled, state.order_id)
    assert told.was_paid
    assert counter.payment(state.order_id).refunds == {f"{state.order_id}/refund": 14998}


def test_after_an_undo_the_request_may_be_sent_again(
    counter: Shop, apart: Apart, state: Placing
) -> None:
    apart.run(state, until="stock")
    apart.undo(state, since="stock")

    placed = counter.place(state.customer_id, request_id=state.request_id)

    assert placed.order_id != state.order_id
    assert placed.status == Order.CREATED
