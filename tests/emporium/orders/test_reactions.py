from __future__ import annotations

from typing import Any

import pytest
from commerce.inventory.v1.events_pb2 import ReservationLapsed, StockReleased
from commerce.orders.v1.events_pb2 import OrderCancelled, OrderPaid, OrderRefundDue
from commerce.orders.v1.order_pb2 import Order
from commerce.payments.v1.events_pb2 import PaymentFailed, PaymentSucceeded

Shop = Any  # as in conftest


def succeeded(placed: Any) -> PaymentSucceeded:
    return PaymentSucceeded(
        payment_id=placed.payment_id, order_id=placed.order_id, amount=placed.total
    )


def failed(placed: Any) -> PaymentFailed:
    return PaymentFailed(
        payment_id=placed.payment_id, order_id=placed.order_id, amount=placed.total
    )


def expired(order_id: str) -> StockReleased:
    return StockReleased(reservation_id=order_id, cause=StockReleased.EXPIRED)


def test_a_payment_that_succeeds_makes_the_order_paid(counter: Shop, customer: str) -> None:
    placed = counter.place(customer)
    counter.clock.advance(seconds=5)

    counter.hear(succeeded(placed))

    order = counter.get(customer, placed.order_id)
    (told,) = counter.told(OrderPaid, placed.order_id)
    assert order.status == Order.PAID
    assert order.updated_at.seconds == placed.created_at.seconds + 5
    assert (told.customer_id, told.total, told.payment_id, told.paid_at) == (
        customer,
        placed.total,
        placed.payment_id,
        order.updated_at,
    )


def test_hearing_twice_of_one_payment_tells_it_once(counter: Shop, customer: str) -> None:
    placed = counter.place(customer)

    counter.hear(succeeded(placed))
    counter.hear(succeeded(placed))

    assert counter.get(customer, placed.order_id).status == Order.PAID
    assert len(counter.told(OrderPaid, placed.order_id)) == 1


def test_a_payment_that_fails_cancels_the_order(counter: Shop, customer: str) -> None:
    placed = counter.place(customer)

    counter.hear(failed(placed))

    order = counter.get(customer, placed.order_id)
    (told,) = counter.told(OrderCancelled, placed.order_id)
    assert (order.status, order.cancel_reason) == (Order.CANCELLED, Order.PAYMENT_FAILED)
    assert (told.cancel_reason, told.was_paid) == (Order.PAYMENT_FAILED, False)


def test_news_of_a_failure_changes_no_order_that_has_moved_on(counter: Shop, customer: str) -> None:
    paid, cancelled = counter.place(customer), counter.place(customer)
    counter.hear(succeeded(paid))
    counter.cancel(customer, cancelled.order_id)

    counter.hear(failed(paid))
    counter.hear(failed(cancelled))

    assert counter.get(customer, paid.order_id).status == Order.PAID
    assert counter.get(customer, cancelled.order_id).cancel_reason == Order.REQUESTED
    assert len(counter.told(OrderCancelled, cancelled.order_id)) == 1


def test_money_for_a_cancelled_order_is_asked_back(counter: Shop, customer: str) -> None:
    placed = counter.place(customer)
    counter.hear(failed(placed))
    payment = counter.payment(placed.order_id)
    payment.status = "SUCCEEDED"

    counter.hear(succeeded(placed))

    (due,) = counter.told(OrderRefundDue, placed.order_id)
    assert (due.customer_id, due.payment_id, due.amount) == (
        customer,
        placed.payment_id,
        placed.total,
    )
    assert payment.refunds == {f"{placed.order_id}/refund": 14998}
    assert counter.get(customer, placed.order_id).status == Order.CANCELLED
    assert counter.told(OrderPaid, placed.order_id) == []


@pytest.mark.parametrize("status", ["SHIPPED", "DELIVERED", "RETURNED"])
def test_late_news_of_success_moves_no_order_back(
    counter: Shop, customer: str, status: str
) -> None:
    placed = counter.place(customer)
    counter.force(placed.order_id, status)

    counter.hear(succeeded(placed))

    assert Order.Status.Name(counter.get(customer, placed.order_id).status) == status


def test_a_payment_of_an_order_that_nobody_knows_is_not_passed_over(counter: Shop) -> None:
    relay = counter.harness.program.relay
    before = relay.failed

    with counter.database.unit_of_work() as session:
        event = PaymentSucceeded(payment_id="pay_none", order_id="ord_none")
        counter.events.publish(session, event, aggregate_id="nobody")
    counter.harness.settle()

    (row,) = counter.query(
        "SELECT attempts, last_error FROM orders.outbox WHERE aggregateid = 'nobody'"
    )
    assert relay.failed == before + 1
    assert row.attempts == 1
    assert "ORDER_NOT_FOUND" in row.last_error


def test_an_unpaid_order_ends_with_the_time_of_its_hold(counter: Shop, customer: str) -> None:
    placed = counter.place(customer)

    counter.hear(expired(placed.order_id))

    order = counter.get(customer, placed.order_id)
    assert (order.status, order.cancel_reason) == (Order.CANCELLED, Order.HOLD_EXPIRED)
    assert counter.payment(placed.order_id).status == "VOIDED"
    assert len(counter.told(OrderCancelled, placed.order_id)) == 1


def test_a_paid_order_outlives_its_hold(counter: Shop, customer: str) -> None:
    placed = counter.place(customer)
    counter.hear(succeeded(placed))

    counter.hear(expired(placed.order_id))

    assert counter.get(customer, placed.order_id).status == Order.PAID
    assert counter.payment(placed.order_id).refunds == {}


def test_money_that_came_with_the_end_of_the_hold_goes_back(counter: Shop, customer: str) -> None:
    placed = counter.place(customer)
    counter.payments.succeed(placed.payment_id)

    counter.hear(expired(placed.order_id))
    counter.hear(succeeded(placed))

    order = counter.get(customer, placed.order_id)
    assert (order.status, order.cancel_reason) == (Order.CANCELLED, Order.HOLD_EXPIRED)
    assert counter.payment(placed.order_id).refunds == {f"{placed.order_id}/refund": 14998}


def test_stock_that_was_given_up_on_request_changes_nothing(counter: Shop, customer: str) -> None:
    placed = counter.place(customer)

    counter.hear(StockReleased(reservation_id=placed.order_id, cause=StockReleased.REQUESTED))

    assert counter.get(customer, placed.order_id).status == Order.CREATED


def test_an_expired_hold_that_was_for_no_order_changes_nothing(counter: Shop) -> None:
    before = counter.harness.program.relay.failed

    counter.hear(expired("not_an_order"))

    assert counter.harness.program.relay.failed == before


def test_a_paid_order_whose_pieces_are_gone_ends_and_its_money_goes_back(
    counter: Shop, customer: str
) -> None:
    placed = counter.place(customer)
    counter.payments.succeed(placed.payment_id)
    counter.hear(succeeded(placed))

    counter.hear(ReservationLapsed(reservation_id=placed.order_id))
    counter.hear(ReservationLapsed(reservation_id=placed.order_id))

    order = counter.get(customer, placed.order_id)
    (told,) = counter.told(OrderCancelled, placed.order_id)
    assert (order.status, order.cancel_reason) == (Order.CANCELLED, Order.HOLD_EXPIRED)
    assert told.was_paid
    assert counter.payment(placed.order_id).refunds == {f"{placed.order_id}/refund": 14998}
