"""The contract of inventory, over the servicer alone, the local channel and a socket."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
from commerce.inventory.v1.events_pb2 import (
    StockAdjusted,
    StockCommitted,
    StockLow,
    StockReleased,
    StockReserved,
)
from commerce.inventory.v1.reservation_pb2 import Reservation

from portico.errors import StatusError

NOT_FOUND = grpc.StatusCode.NOT_FOUND
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS


def refusal(call: Any, *arguments: Any, **more: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """The code, reason and metadata that a call is refused with."""
    with pytest.raises(StatusError) as caught:
        call(*arguments, **more)
    return caught.value.code(), caught.value.reason, dict(caught.value.metadata)


class TestAdjusting:
    def test_opens_a_stock_and_counts_from_there(self, inventory: Any) -> None:
        product = inventory.new_id("prod")
        assert inventory.adjust(product, 10).on_hand == 10
        stock = inventory.adjust(product, -3, note="broken")
        assert (stock.on_hand, stock.reserved, stock.available) == (7, 0, 7)
        assert inventory.stock(product) == stock
        assert stock.updated_at.ToDatetime(tzinfo=UTC) == inventory.clock.now()

    def test_is_told_to_others(self, inventory: Any) -> None:
        product = inventory.stocked(10)
        inventory.adjust(product, -2, note="broken")
        told = inventory.published(StockAdjusted, product)
        assert [(event.delta, event.on_hand, event.note) for event in told] == [
            (10, 10, ""),
            (-2, 8, "broken"),
        ]

    def test_happens_once_for_one_request_id(self, inventory: Any) -> None:
        product, key = inventory.new_id("prod"), inventory.new_id("delivery")
        inventory.adjust(product, 10, note="pallet", request_id=key)
        inventory.adjust(product, 1)
        assert inventory.adjust(product, 10, note="pallet", request_id=key).on_hand == 11
        assert len(inventory.published(StockAdjusted, product)) == 2

    @pytest.mark.parametrize(
        "other", [{"delta": 11}, {"note": "bin"}, {"product_id": "prod_other"}]
    )
    def test_refuses_a_request_id_that_came_with_other_content(
        self, inventory: Any, other: dict[str, Any]
    ) -> None:
        key = inventory.new_id("delivery")
        first = {"product_id": inventory.new_id("prod"), "delta": 10, "note": "pallet"}
        inventory.adjust(**first, request_id=key)
        again = refusal(inventory.adjust, **(first | other), request_id=key)
        assert again == (ALREADY_EXISTS, "REQUEST_ID_REUSED", {"request_id": key})
        assert inventory.numbers(str(first["product_id"])) == (10, 0)

    def test_leaves_what_is_reserved(self, inventory: Any) -> None:
        product = inventory.stocked(5)
        inventory.held({product: 2})
        refused = refusal(inventory.adjust, product, -4)
        wanted = {"product_id": product, "delta": "-4", "available": "3"}
        assert refused == (FAILED_PRECONDITION, "STOCK_TOO_LOW", wanted)
        assert inventory.adjust(product, -3).available == 0

    def test_takes_nothing_from_an_unknown_product(self, inventory: Any) -> None:
        product = inventory.new_id("prod")
        wanted = {"product_id": product, "delta": "-1", "available": "0"}
        refused = refusal(inventory.adjust, product, -1, request_id=inventory.new_id("delivery"))
        assert refused == (FAILED_PRECONDITION, "STOCK_TOO_LOW", wanted)
        assert refusal(inventory.stock, product)[1] == "PRODUCT_NOT_STOCKED"

    def test_stops_before_pieces_cannot_be_counted_any_more(self, inventory: Any) -> None:
        product = inventory.stocked(1)
        with inventory.database.unit_of_work() as session:
            session.exec_driver_sql(
                "UPDATE inventory.levels SET on_hand = 999999999 WHERE product_id = %(id)s",
                {"id": product},
            )
            session.exec_driver_sql(
                "UPDATE inventory.movements SET on_hand = 999999999 WHERE product_id = %(id)s",
                {"id": product},
            )
        refused = refusal(inventory.adjust, product, 1_000_000)
        wanted = {"product_id": product, "delta": "1000000", "on_hand": "999999999"}
        assert refused == (FAILED_PRECONDITION, "STOCK_TOO_HIGH", wanted)
        assert inventory.adjust(product, 1).on_hand == 1_000_000_000

    def test_of_an_unknown_product_there_is_nothing_to_read(self, inventory: Any) -> None:
        product = inventory.new_id("prod")
        wanted = (NOT_FOUND, "PRODUCT_NOT_STOCKED", {"product_id": product})
        assert refusal(inventory.stock, product) == wanted


class TestReserving:
    def test_holds_the_pieces_of_every_line(self, inventory: Any) -> None:
        first, second = inventory.stocked(5), inventory.stocked(1)
        found = inventory.reserve("ord_" + first, {second: 1, first: 2}, 90)
        assert found.status == Reservation.HELD
        assert [(line.product_id, line.quantity) for line in found.lines] == [
            (second, 1),
            (first, 2),
        ]
        assert found.expires_at.ToDatetime(tzinfo=UTC) == inventory.clock.now() + timedelta(
            seconds=90
        )
        assert (inventory.numbers(first), inventory.numbers(second)) == ((5, 2), (1, 1))

    def test_is_told_to_others(self, inventory: Any) -> None:
        product = inventory.stocked(5)
        reservation = inventory.held({product: 2})
        [told] = inventory.published(StockReserved, reservation)
        assert [(line.product_id, line.quantity) for line in told.lines] == [(product, 2)]

    def test_answers_a_repeat_with_the_same_hold(self, inventory: Any) -> None:
        first, second = inventory.stocked(5), inventory.stocked(5)
        reservation = inventory.new_id("ord")
        held = inventory.reserve(reservation, {first: 2, second: 3})
        inventory.clock.advance(seconds=1)
        assert inventory.reserve(reservation, {second: 3, first: 2}) == held
        assert (inventory.numbers(first), inventory.numbers(second)) == ((5, 2), (5, 3))
        assert len(inventory.published(StockReserved, reservation)) == 1

    def test_answers_a_repeat_even_when_the_shelf_is_empty_by_now(self, inventory: Any) -> None:
        product, reservation = inventory.stocked(2), inventory.new_id("ord")
        held = inventory.reserve(reservation, {product: 2})
        assert inventory.reserve(reservation, {product: 2}) == held

    @pytest.mark.parametrize("other", [{"a": 1}, {"a": 2, "b": 1}, {"b": 2}])
    def test_refuses_an_id_that_is_in_use_with_other_lines(
        self, inventory: Any, other: dict[str, int]
    ) -> None:
        products = {"a": inventory.stocked(9), "b": inventory.stocked(9)}
        reservation = inventory.held({products["a"]: 2})
        lines = {products[name]: quantity for name, quantity in other.items()}
        refused = refusal(inventory.reserve, reservation, lines)
        assert refused == (ALREADY_EXISTS, "RESERVATION_EXISTS", {"reservation_id": reservation})
        assert (inventory.numbers(products["a"]), inventory.numbers(products["b"])) == (
            (9, 2),
            (9, 0),
        )

    def test_holds_nothing_when_one_line_is_short_and_names_the_first(self, inventory: Any) -> None:
        enough, few, none = inventory.stocked(5), inventory.stocked(1), inventory.new_id("prod")
        refused = refusal(inventory.reserve, inventory.new_id("ord"), {enough: 5, few: 2, none: 1})
        wanted = {"product_id": few, "quantity": "2", "available": "1"}
        assert refused == (FAILED_PRECONDITION, "INSUFFICIENT_STOCK", wanted)
        assert (inventory.numbers(enough), inventory.numbers(few)) == ((5, 0), (1, 0))

    def test_finds_no_piece_of_a_product_nobody_stocked(self, inventory: Any) -> None:
        product = inventory.new_id("prod")
        refused = refusal(inventory.reserve, inventory.new_id("ord"), {product: 1})
        wanted = {"product_id": product, "quantity": "1", "available": "0"}
        assert refused == (FAILED_PRECONDITION, "INSUFFICIENT_STOCK", wanted)

    def test_is_refused_once_it_was_given_up_beforehand(self, inventory: Any) -> None:
        product, reservation = inventory.stocked(5), inventory.new_id("ord")
        inventory.release(reservation)
        inventory.release(reservation)
        refused = refusal(inventory.reserve, reservation, {product: 1})
        wanted = {"reservation_id": reservation, "status": "RELEASED"}
        assert refused == (FAILED_PRECONDITION, "RESERVATION_ENDED", wanted)
        assert inventory.numbers(product) == (5, 0)


class TestOverdueHolds:
    def test_give_their_pieces_to_whoever_comes_next(self, inventory: Any) -> None:
        wanted, other = inventory.stocked(3), inventory.stocked(3)
        overdue = inventory.held({wanted: 2, other: 3}, 60)
        inventory.clock.advance(seconds=60)
        inventory.held({wanted: 3})
        assert (inventory.numbers(wanted), inventory.numbers(other)) == ((3, 3), (3, 0))
        [told] = inventory.published(StockReleased, overdue)
        assert told.cause == StockReleased.EXPIRED
        assert len(told.lines) == 2

    def test_are_kept_until_their_time_is_over(self, inventory: Any) -> None:
        product = inventory.stocked(2)
        inventory.held({product: 1}, 60)
        inventory.clock.advance(seconds=59)
        assert (
            refusal(inventory.reserve, inventory.new_id("ord"), {product: 2})[1]
            == "INSUFFICIENT_STOCK"
        )

    def test_stay_when_even_their_pieces_are_not_enough(self, inventory: Any) -> None:
        product = inventory.stocked(3)
        overdue = inventory.held({product: 2}, 60)
        inventory.clock.advance(seconds=60)
        refused = refusal(inventory.reserve, inventory.new_id("ord"), {product: 4})
        assert refused[2]["available"] == "3"
        assert inventory.numbers(product) == (3, 2)
        assert inventory.published(StockReleased, overdue) == []

    def test_of_other_products_are_left_alone(self, inventory: Any) -> None:
        product, other = inventory.stocked(1), inventory.stocked(1)
        inventory.held({other: 1}, 60)
        inventory.clock.advance(seconds=60)
        inventory.held({product: 1})
        assert inventory.numbers(other) == (1, 1)

    def test_are_not_prolonged_by_a_repeat(self, inventory: Any) -> None:
        product, reservation = inventory.stocked(1), inventory.new_id("ord")
        inventory.reserve(reservation, {product: 1}, 60)
        inventory.clock.advance(seconds=60)
        assert inventory.reserve(reservation, {product: 1}, 60).status == Reservation.HELD
        inventory.held({product: 1})
        assert inventory.reserve(reservation, {product: 1}, 60).status == Reservation.EXPIRED
        assert inventory.numbers(product) == (1, 1)


class TestCommitting:
    def test_takes_the_pieces_out_for_good(self, inventory: Any) -> None:
        first, second = inventory.stocked(5), inventory.stocked(5)
        reservation = inventory.held({first: 2, second: 5})
        assert inventory.commit(reservation).status == Reservation.COMMITTED
        assert (inventory.numbers(first), inventory.numbers(second)) == ((3, 0), (0, 0))
        [told] = inventory.published(StockCommitted, reservation)
        assert len(told.lines) == 2

    def test_changes_nothing_the_second_time(self, inventory: Any) -> None:
        product = inventory.stocked(5)
        reservation = inventory.held({product: 2})
        assert inventory.commit(reservation) == inventory.commit(reservation)
        assert inventory.numbers(product) == (3, 0)
        assert len(inventory.published(StockCommitted, reservation)) == 1

    def test_works_on_an_overdue_hold(self, inventory: Any) -> None:
        product = inventory.stocked(2)
        reservation = inventory.held({product: 2}, 60)
        inventory.clock.advance(seconds=3600)
        assert inventory.commit(reservation).status == Reservation.COMMITTED
        assert inventory.numbers(product) == (0, 0)

    def test_takes_expired_pieces_again_while_there_are_enough(self, inventory: Any) -> None:
        product = inventory.stocked(5)
        reservation = inventory.held({product: 2}, 60)
        inventory.clock.advance(seconds=60)
        inventory.held({product: 3})
        assert inventory.numbers(product) == (5, 3)
        assert inventory.commit(reservation).status == Reservation.COMMITTED
        assert inventory.numbers(product) == (3, 3)

    def test_is_refused_when_the_pieces_are_somebody_elses(self, inventory: Any) -> None:
        product, other = inventory.stocked(5), inventory.stocked(1)
        reservation = inventory.held({other: 1, product: 2}, 60)
        inventory.clock.advance(seconds=60)
        inventory.held({product: 4})
        refused = refusal(inventory.commit, reservation)
        wanted = {"product_id": product, "quantity": "2", "available": "1"}
        assert refused == (FAILED_PRECONDITION, "INSUFFICIENT_STOCK", wanted)
        assert (inventory.numbers(product), inventory.numbers(other)) == ((5, 4), (1, 0))

    def test_lets_an_expired_hold_have_the_pieces_of_one_that_is_overdue(
        self, inventory: Any
    ) -> None:
        product = inventory.stocked(2)
        reservation = inventory.held({product: 2}, 60)
        inventory.clock.advance(seconds=60)
        inventory.held({product: 2}, 60)
        inventory.clock.advance(seconds=60)
        assert inventory.commit(reservation).status == Reservation.COMMITTED
        assert inventory.numbers(product) == (0, 0)

    def test_needs_a_reservation(self, inventory: Any) -> None:
        reservation = inventory.new_id("ord")
        refused = refusal(inventory.commit, reservation)
        assert refused == (NOT_FOUND, "RESERVATION_NOT_FOUND", {"reservation_id": reservation})

    def test_comes_too_late_after_a_release(self, inventory: Any) -> None:
        product = inventory.stocked(5)
        reservation = inventory.held({product: 2})
        inventory.release(reservation)
        refused = refusal(inventory.commit, reservation)
        wanted = {"reservation_id": reservation, "status": "RELEASED"}
        assert refused == (FAILED_PRECONDITION, "RESERVATION_ENDED", wanted)
        assert inventory.numbers(product) == (5, 0)


class TestReleasing:
    def test_sets_held_pieces_free_once(self, inventory: Any) -> None:
        product = inventory.stocked(5)
        reservation = inventory.held({product: 2})
        inventory.release(reservation)
        inventory.release(reservation)
        assert inventory.numbers(product) == (5, 0)
        [told] = inventory.published(StockReleased, reservation)
        assert told.cause == StockReleased.REQUESTED

    def test_brings_committed_pieces_back_once(self, inventory: Any) -> None:
        product = inventory.stocked(5)
        reservation = inventory.held({product: 2})
        inventory.commit(reservation)
        inventory.release(reservation)
        inventory.release(reservation)
        assert inventory.numbers(product) == (5, 0)
        assert len(inventory.published(StockReleased, reservation)) == 1

    def test_has_nothing_to_do_for_an_expired_hold(self, inventory: Any) -> None:
        product = inventory.stocked(2)
        reservation = inventory.held({product: 2}, 60)
        inventory.clock.advance(seconds=60)
        inventory.held({product: 1})
        inventory.release(reservation)
        assert inventory.numbers(product) == (2, 1)
        assert len(inventory.published(StockReleased, reservation)) == 1

    def test_answers_to_a_repeated_reserve_that_it_is_over(self, inventory: Any) -> None:
        product, reservation = inventory.stocked(2), inventory.new_id("ord")
        inventory.reserve(reservation, {product: 2})
        inventory.release(reservation)
        assert inventory.reserve(reservation, {product: 2}).status == Reservation.RELEASED
        assert inventory.numbers(product) == (2, 0)


class TestLowStock:
    def test_is_told_at_each_fall_and_not_in_between(self, inventory: Any) -> None:
        product = inventory.stocked(10)
        first = inventory.held({product: 4})
        assert inventory.published(StockLow, product) == []
        second = inventory.held({product: 1})
        inventory.held({product: 1})
        inventory.commit(second)
        assert [event.available for event in inventory.published(StockLow, product)] == [5]
        inventory.release(first)
        inventory.adjust(product, -4)
        told = inventory.published(StockLow, product)
        assert [(event.available, event.threshold) for event in told] == [(5, 5), (4, 5)]
