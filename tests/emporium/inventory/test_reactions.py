"""What inventory does when an order is paid or cancelled."""

from __future__ import annotations

from typing import Any

from commerce.inventory.v1.events_pb2 import ReservationLapsed, StockCommitted, StockReleased
from commerce.orders.v1.events_pb2 import OrderCancelled, OrderPaid


def tell(stockroom: Any, event: OrderPaid | OrderCancelled, *, times: int = 1) -> None:
    """Publish it so often, and deliver."""
    for _ in range(times):
        stockroom.publish(event, event.order_id)
    stockroom.settle()


def undelivered(stockroom: Any, order: str) -> list[Any]:
    """Events about the order whose delivery has failed."""
    found: list[Any] = stockroom.query(
        "SELECT type, last_error FROM inventory.outbox WHERE aggregateid = :order AND delivered_at IS NULL",
        order=order,
    )
    return found


def test_the_stock_of_a_paid_order_is_committed_once(stockroom: Any) -> None:
    product = stockroom.stocked(5)
    order = stockroom.held({product: 2})
    tell(stockroom, OrderPaid(order_id=order), times=2)
    assert stockroom.numbers(product) == (3, 0)
    assert len(stockroom.published(StockCommitted, order)) == 1


def test_the_stock_of_a_cancelled_order_is_free_again(stockroom: Any) -> None:
    product = stockroom.stocked(5)
    order = stockroom.held({product: 2})
    tell(stockroom, OrderCancelled(order_id=order), times=2)
    assert stockroom.numbers(product) == (5, 0)
    assert len(stockroom.published(StockReleased, order)) == 1


def test_the_stock_of_an_order_cancelled_after_it_was_paid_comes_back(stockroom: Any) -> None:
    product = stockroom.stocked(5)
    order = stockroom.held({product: 2})
    tell(stockroom, OrderPaid(order_id=order))
    tell(stockroom, OrderCancelled(order_id=order, was_paid=True))
    assert stockroom.numbers(product) == (5, 0)


def test_a_payment_that_is_heard_of_after_the_cancellation_takes_nothing(stockroom: Any) -> None:
    product = stockroom.stocked(5)
    order = stockroom.held({product: 2})
    stockroom.release(order)
    tell(stockroom, OrderPaid(order_id=order))
    assert stockroom.numbers(product) == (5, 0)
    assert undelivered(stockroom, order) == []


def test_a_paid_order_whose_stock_is_gone_is_told_and_not_tried_for_ever(stockroom: Any) -> None:
    product = stockroom.stocked(2)
    order = stockroom.held({product: 2}, 60)
    stockroom.clock.advance(seconds=60)
    stockroom.held({product: 2})
    tell(stockroom, OrderPaid(order_id=order))
    assert undelivered(stockroom, order) == []
    [told] = stockroom.published(ReservationLapsed, order)
    assert [(line.product_id, line.quantity) for line in told.lines] == [(product, 2)]
    assert stockroom.numbers(product) == (2, 2)


def test_a_paid_order_that_was_never_reserved_is_not_passed_over(stockroom: Any) -> None:
    order = stockroom.new_id("ord")
    tell(stockroom, OrderPaid(order_id=order))
    [(_, error)] = undelivered(stockroom, order)
    assert "RESERVATION_NOT_FOUND" in error
