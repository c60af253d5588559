from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from commerce.orders.v1.events_pb2 import OrderCancelled, OrderPaid, OrderRefundDue
from commerce.orders.v1.order_pb2 import Order
from commerce.orders.v1.orders_service_pb2 import CancelOrderRequest
from commerce.payments.v1.events_pb2 import PaymentSucceeded
from google.type.money_pb2 import Money

from portico.errors import StatusError

Shop = Any  # as in conftest
DOLLARS_149_98 = Money(currency_code="USD", units=149, nanos=980_000_000)


def paid(shop: Shop, customer: str) -> str:
    """A new order that is PAID."""
    placed = shop.place(customer)
    shop.payments.succeed(placed.payment_id)
    shop.hear(succeeded(placed))
    return str(placed.order_id)


def succeeded(placed: Any) -> PaymentSucceeded:
    return PaymentSucceeded(
        payment_id=placed.payment_id, order_id=placed.order_id, amount=placed.total
    )


def test_cancelling_sets_stock_free_and_gives_the_payment_up(shop: Shop, customer: str) -> None:
    placed = shop.place(customer)
    shop.clock.advance(seconds=60)

    order = shop.cancel(customer, placed.order_id)

    assert order.status == Order.CANCELLED
    assert order.cancel_reason == Order.REQUESTED
    assert order.updated_at.seconds == placed.created_at.seconds + 60
    assert order == shop.get(customer, placed.order_id)
    assert placed.order_id in shop.inventory.released
    assert placed.order_id not in shop.inventory.held
    assert shop.payment(placed.order_id).status == "VOIDED"
    (told,) = shop.told(OrderCancelled, placed.order_id)
    assert (told.cancel_reason, told.was_paid, told.total) == (
        Order.REQUESTED,
        False,
        DOLLARS_149_98,
    )


def test_cancelling_a_paid_order_gives_all_the_money_back(shop: Shop, customer: str) -> None:
    order_id = paid(shop, customer)

    order = shop.cancel(customer, order_id)

    assert order.status == Order.CANCELLED
    assert shop.payment(order_id).refunds == {f"{order_id}/refund": 14998}
    (told,) = shop.told(OrderCancelled, order_id)
    assert told.was_paid


@pytest.mark.parametrize("request_id", ["", "cancel-1"])
def test_cancelling_twice_changes_nothing_more(shop: Shop, customer: str, request_id: str) -> None:
    order_id = paid(shop, customer)
    first = shop.cancel(customer, order_id, request_id)
    shop.clock.advance(seconds=60)

    assert shop.cancel(customer, order_id, request_id) == first
    assert shop.payment(order_id).refunds == {f"{order_id}/refund": 14998}
    assert len(shop.told(OrderCancelled, order_id)) == 1


def test_a_request_id_that_cancelled_another_order_is_refused(shop: Shop, customer: str) -> None:
    first, second = shop.place(customer), shop.place(customer)
    shop.cancel(customer, first.order_id, "cancel-1")

    with pytest.raises(StatusError) as refusal:
        shop.cancel(customer, second.order_id, "cancel-1")

    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert refusal.value.reason == "REQUEST_ID_REUSED"
    assert refusal.value.metadata == {"request_id": "cancel-1"}
    assert shop.get(customer, second.order_id).status == Order.CREATED


def test_one_request_id_may_place_an_order_and_cancel_it(counter: Shop, customer: str) -> None:
    order_id = counter.place(customer, request_id="basket-42").order_id

    assert counter.cancel(customer, order_id, "basket-42").status == Order.CANCELLED


@pytest.mark.parametrize("status", ["SHIPPED", "DELIVERED", "RETURNED"])
def test_an_order_that_has_gone_too_far_is_not_cancelled(
    shop: Shop, customer: str, status: str
) -> None:
    order_id = paid(shop, customer)
    shop.force(order_id, status)

    with pytest.raises(StatusError) as refusal:
        shop.cancel(customer, order_id, "cancel-1")

    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.value.reason == "ORDER_NOT_CANCELLABLE"
    assert refusal.value.metadata == {"order_id": order_id, "status": status}
    assert shop.payment(order_id).refunds == {}
    assert order_id not in shop.inventory.released
    assert shop.told(OrderCancelled, order_id) == []


@pytest.mark.parametrize("user", ["usr_thief", "owner"])
def test_an_order_that_is_unknown_or_somebody_elses_is_not_found(
    shop: Shop, customer: str, user: str
) -> None:
    order_id = "ord_none" if user == "owner" else shop.place(customer).order_id

    with pytest.raises(StatusError) as refusal:
        shop.cancel(customer if user == "owner" else user, order_id)

    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    assert refusal.value.reason == "ORDER_NOT_FOUND"


def test_an_administrator_cancels_for_anybody(counter: Shop, customer: str) -> None:
    order_id = counter.place(customer).order_id
    administrator = counter.stub("usr_admin", "admin")

    administrator.CancelOrder(CancelOrderRequest(order_id=order_id))

    assert counter.get(customer, order_id).status == Order.CANCELLED


def test_money_that_was_taken_but_not_heard_of_yet_goes_back_too(shop: Shop, customer: str) -> None:
    placed = shop.place(customer)
    shop.payments.succeed(placed.payment_id)

    assert shop.cancel(customer, placed.order_id).status == Order.CANCELLED

    assert shop.payment(placed.order_id).refunds == {f"{placed.order_id}/refund": 14998}
    assert placed.order_id in shop.inventory.released


def test_hearing_of_that_money_afterwards_refunds_it_no_second_time(
    shop: Shop, customer: str
) -> None:
    placed = shop.place(customer)
    shop.payments.succeed(placed.payment_id)
    shop.cancel(customer, placed.order_id)

    shop.hear(succeeded(placed))

    assert shop.get(customer, placed.order_id).status == Order.CANCELLED
    assert len(shop.told(OrderRefundDue, placed.order_id)) == 1
    assert shop.payment(placed.order_id).refunds == {f"{placed.order_id}/refund": 14998}


def test_eight_cancellations_at_once_are_one(counter: Shop, customer: str) -> None:
    order_id = paid(counter, customer)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: counter.cancel(customer, order_id), range(8)))

    assert all(answer == answers[0] for answer in answers)
    assert counter.payment(order_id).refunds == {f"{order_id}/refund": 14998}
    assert len(counter.told(OrderCancelled, order_id)) == 1


def test_cancelling_while_the_payment_succeeds_loses_neither_money_nor_order(
    counter: Shop,
) -> None:
    """The provider's answer and its event race with the cancellation; every outcome adds up."""
    for _ in range(20):
        customer = counter.new_customer()
        placed = counter.place(customer)
        start = threading.Barrier(2)

        def pay(placed: Any = placed, start: threading.Barrier = start) -> None:
            start.wait()
            if counter.payments.succeed(placed.payment_id):
                counter.hear(succeeded(placed))

        thread = threading.Thread(target=pay)
        thread.start()
        start.wait()
        counter.cancel(customer, placed.order_id)
        thread.join()
        counter.harness.settle()

        payment = counter.payment(placed.order_id)
        assert counter.get(customer, placed.order_id).status == Order.CANCELLED
        assert len(counter.told(OrderCancelled, placed.order_id)) == 1
        assert placed.order_id not in counter.inventory.held
        assert payment.status in ("VOIDED", "REFUNDED")
        assert list(payment.refunds.values()) == ([14998] if payment.status == "REFUNDED" else [])
        was_paid = bool(counter.told(OrderPaid, placed.order_id))
        assert counter.told(OrderCancelled, placed.order_id)[0].was_paid == was_paid
