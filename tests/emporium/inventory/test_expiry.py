"""Holds whose time is over while nobody else wants the pieces."""

from __future__ import annotations

from typing import Any

from commerce.inventory.v1.events_pb2 import HoldDue, StockReleased, StockReserved
from commerce.orders.v1.events_pb2 import OrderPaid


def test_the_pieces_of_an_overdue_hold_are_free_by_time_alone(stockroom: Any) -> None:
    product = stockroom.stocked(5)
    order = stockroom.held({product: 2}, 60)
    stockroom.settle()
    stockroom.clock.advance(seconds=59)
    stockroom.settle()
    assert stockroom.numbers(product) == (5, 2)
    stockroom.clock.advance(seconds=1)
    stockroom.settle()
    assert stockroom.numbers(product) == (5, 0)
    [told] = stockroom.published(StockReleased, order)
    assert told.cause == StockReleased.EXPIRED


def test_holds_that_ended_before_are_left_alone(stockroom: Any) -> None:
    product = stockroom.stocked(6)
    paid, released, taken = (stockroom.held({product: 2}, 60) for _ in range(3))
    stockroom.settle()
    stockroom.publish(OrderPaid(order_id=paid), paid)
    stockroom.release(released)
    stockroom.settle()
    stockroom.clock.advance(seconds=60)
    stockroom.held({product: 4}, 600)  # takes what `taken` had
    stockroom.settle()
    assert stockroom.numbers(product) == (4, 4)
    assert len(stockroom.published(StockReleased, released)) == 1
    assert len(stockroom.published(StockReleased, taken)) == 1
    assert stockroom.published(StockReleased, paid) == []


def test_a_repeat_of_either_event_frees_nothing_twice(stockroom: Any) -> None:
    product = stockroom.stocked(5)
    order = stockroom.held({product: 2}, 60)
    stockroom.settle()
    [reserved] = stockroom.published(StockReserved, order)
    stockroom.publish(reserved, order)
    stockroom.settle()
    stockroom.clock.advance(seconds=60)
    stockroom.settle()
    assert len(stockroom.published(HoldDue, order)) == 2
    assert len(stockroom.published(StockReleased, order)) == 1
    assert stockroom.numbers(product) == (5, 0)


def test_a_hold_that_is_not_over_yet_is_looked_at_again(stockroom: Any) -> None:
    product = stockroom.stocked(5)
    order = stockroom.held({product: 2}, 60)
    stockroom.publish(HoldDue(reservation_id=order), order)  # by a clock that is ahead
    stockroom.settle()
    assert stockroom.numbers(product) == (5, 2)
    stockroom.clock.advance(seconds=60)
    stockroom.settle()
    assert stockroom.numbers(product) == (5, 0)


def test_the_end_of_a_hold_that_never_was_changes_nothing(stockroom: Any) -> None:
    order = stockroom.new_id("ord")
    stockroom.publish(HoldDue(reservation_id=order), order)
    stockroom.settle()
    assert stockroom.published(StockReleased, order) == []


def test_a_payment_that_comes_after_the_end_takes_the_pieces_if_they_are_there(
    stockroom: Any,
) -> None:
    product = stockroom.stocked(5)
    order = stockroom.held({product: 2}, 60)
    stockroom.settle()
    stockroom.clock.advance(seconds=60)
    stockroom.settle()
    stockroom.publish(OrderPaid(order_id=order), order)
    stockroom.settle()
    assert stockroom.numbers(product) == (3, 0)
