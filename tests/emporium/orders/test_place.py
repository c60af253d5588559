from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Any

import grpc
import pytest
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1.events_pb2 import OrderPlaced
from commerce.orders.v1.order_pb2 import Order
from google.type.money_pb2 import Money

from portico.errors import StatusError

Shop = Any  # as in conftest
DOLLARS_149_98 = Money(currency_code="USD", units=149, nanos=980_000_000)


def test_a_quote_names_every_line_and_the_exact_total(shop: Shop, customer: str) -> None:
    request = rpc.QuoteOrderRequest()
    request.items.add(product_id="prod_lamp", quantity=3)
    request.items.add(product_id="prod_7721", quantity=2)

    quote = shop.stub(customer).QuoteOrder(request)

    assert [(item.product_id, item.quantity) for item in quote.items] == [
        ("prod_lamp", 3),
        ("prod_7721", 2),
    ]
    assert quote.items[0].line_total == Money(currency_code="USD", units=31, nanos=500_000_000)
    assert quote.items[1].unit_price == Money(currency_code="USD", units=74, nanos=990_000_000)
    assert quote.total == Money(currency_code="USD", units=181, nanos=480_000_000)
    assert quote.total_amount == 181.48
    assert shop.listed(customer).orders == []


def test_an_order_is_answered_in_short_and_kept_whole(shop: Shop, customer: str) -> None:
    placed = shop.place(customer)
    order = shop.get(customer, placed.order_id)

    assert placed.order_id.startswith("ord_")
    assert placed.payment_id.startswith("pay_")
    assert placed.status == Order.CREATED
    assert placed.total_amount == 149.98
    assert placed.total == DOLLARS_149_98
    assert placed.created_at.ToDatetime(UTC) == shop.clock.now().replace(microsecond=0)
    assert order == Order(
        order_id=placed.order_id,
        customer_id=customer,
        status=Order.CREATED,
        items=order.items,
        payment_method="pm_visa_9832",
        payment_id=placed.payment_id,
        total_amount=149.98,
        total=DOLLARS_149_98,
        created_at=placed.created_at,
        updated_at=placed.created_at,
    )
    assert [(item.product_id, item.title, item.quantity) for item in order.items] == [
        ("prod_7721", "The prod_7721", 2)
    ]


def test_its_time_has_whole_seconds(counter: Shop, customer: str) -> None:
    placed = counter.place(customer)

    assert counter.clock.now().microsecond
    assert re.fullmatch(r"2026-05-29T\d\d:\d\d:\d\dZ", placed.created_at.ToJsonString())


def test_its_stock_is_held_its_payment_open_and_all_are_told(shop: Shop, customer: str) -> None:
    placed = shop.place(customer, items={"prod_lamp": 1, "prod_7721": 2})

    payment = shop.payment(placed.order_id)
    (told,) = shop.told(OrderPlaced, placed.order_id)
    assert shop.inventory.held[placed.order_id] == {"prod_lamp": 1, "prod_7721": 2}
    assert shop.inventory.hold_seconds[placed.order_id] == 900
    assert (payment.cents, payment.customer_id) == (1050 + 2 * 7499, customer)
    assert shop.payments.payments[placed.payment_id] is payment
    assert (told.customer_id, told.payment_id, told.total) == (
        customer,
        placed.payment_id,
        placed.total,
    )
    assert [item.product_id for item in told.items] == ["prod_lamp", "prod_7721"]


def test_a_hundred_lines_keep_their_order(counter: Shop, customer: str) -> None:
    products = [f"prod_{number}" for number in range(100, 0, -1)]
    counter.catalog.prices |= dict.fromkeys(products, 100_000_000)

    placed = counter.place(customer, items=dict.fromkeys(products, 10_000))

    order = counter.get(customer, placed.order_id)
    assert [item.product_id for item in order.items] == products
    assert order.total == Money(currency_code="USD", units=100 * 10_000 * 1_000_000)


def test_without_a_request_id_each_call_is_another_order(shop: Shop, customer: str) -> None:
    first, second = shop.place(customer), shop.place(customer)

    assert first.order_id < second.order_id
    assert len(shop.listed(customer).orders) == 2


def test_the_same_request_gets_the_same_answer_and_orders_nothing_more(
    shop: Shop, customer: str
) -> None:
    first = shop.place(customer, request_id="basket-42")
    shop.clock.advance(seconds=3)
    again = shop.place(customer, request_id="basket-42")

    assert again == first
    assert len(shop.listed(customer).orders) == 1
    assert len(shop.told(OrderPlaced, first.order_id)) == 1


def test_a_repeat_is_answered_as_the_first_time_when_the_order_has_moved_on(
    counter: Shop, customer: str
) -> None:
    first = counter.place(customer, request_id="basket-42")
    counter.cancel(customer, first.order_id)

    assert counter.place(customer, request_id="basket-42") == first


@pytest.mark.parametrize(
    "changed",
    [{"items": {"prod_7721": 3}}, {"items": {"prod_lamp": 2}}, {"payment_method": "pm_x"}],
)
def test_a_request_id_with_other_content_is_refused(
    shop: Shop, customer: str, changed: dict[str, Any]
) -> None:
    shop.place(customer, request_id="basket-42")

    with pytest.raises(StatusError) as refusal:
        shop.place(customer, request_id="basket-42", **changed)

    assert refusal.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert refusal.value.reason == "REQUEST_ID_REUSED"
    assert refusal.value.metadata == {"request_id": "basket-42"}
    assert len(shop.listed(customer).orders) == 1


def test_two_customers_may_use_one_request_id(counter: Shop, customer: str) -> None:
    other = counter.new_customer()

    first = counter.place(customer, request_id="basket-42")
    second = counter.place(other, request_id="basket-42")

    assert first.order_id != second.order_id


def test_the_same_request_sixteen_times_at_once_is_one_order(counter: Shop, customer: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(counter.place, customer, request_id="basket-42") for _ in range(16)]
        answers = [future.result() for future in futures]

    assert all(answer == answers[0] for answer in answers)
    assert len(counter.listed(customer).orders) == 1


def test_of_two_contents_at_once_under_one_request_id_one_is_placed(
    counter: Shop, customer: str
) -> None:
    def place(quantity: int) -> str:
        try:
            placed = counter.place(customer, request_id="basket-42", items={"prod_7721": quantity})
        except StatusError as refusal:
            return refusal.reason
        return str(placed.order_id)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(place, range(1, 9)))

    assert answers.count("REQUEST_ID_REUSED") == 7
    assert len(counter.listed(customer).orders) == 1


@pytest.mark.parametrize(
    ("changed", "code", "reason"),
    [
        ({"items": {"prod_none": 1}}, grpc.StatusCode.NOT_FOUND, "PRODUCT_NOT_FOUND"),
        (
            {"items": {"prod_unpriced": 1}},
            grpc.StatusCode.FAILED_PRECONDITION,
            "PRODUCT_NOT_PRICED",
        ),
        (
            {"items": {"prod_7721": 1, "prod_scarce": 1}},
            grpc.StatusCode.FAILED_PRECONDITION,
            "INSUFFICIENT_STOCK",
        ),
        (
            {"payment_method": "pm_unknown"},
            grpc.StatusCode.NOT_FOUND,
            "PAYMENT_METHOD_NOT_FOUND",
        ),
    ],
)
def test_what_a_module_refuses_reaches_the_customer_and_leaves_nothing(
    shop: Shop, customer: str, changed: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    shop.catalog.prices |= {"prod_scarce": 100, "prod_unpriced": 0}
    events = "SELECT count(*) FROM orders.outbox"
    (before,) = shop.query(events)

    with pytest.raises(StatusError) as refusal:
        shop.place(customer, request_id="basket-42", **changed)

    assert (refusal.value.code(), refusal.value.reason) == (code, reason)
    assert shop.listed(customer).orders == []
    assert shop.query(events) == [before]
    assert shop.place(customer, request_id="basket-42").status == Order.CREATED


def test_a_quote_is_refused_like_an_order(shop: Shop, customer: str) -> None:
    request = rpc.QuoteOrderRequest()
    request.items.add(product_id="prod_none", quantity=1)

    with pytest.raises(StatusError) as refusal:
        shop.stub(customer).QuoteOrder(request)

    assert refusal.value.reason == "PRODUCT_NOT_FOUND"
    assert refusal.value.metadata == {"product_id": "prod_none"}


def test_nobody_orders_for_somebody_else(shop: Shop, customer: str) -> None:
    request = shop.basket(customer)

    with pytest.raises(StatusError) as refusal:
        shop.stub("usr_thief").PlaceOrder(request)

    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refusal.value.reason == "CUSTOMER_MISMATCH"
    assert refusal.value.metadata == {"customer_id": customer}
    assert shop.listed(customer).orders == []


def test_an_administrator_orders_for_anybody(shop: Shop, customer: str) -> None:
    placed = shop.stub("usr_admin", "admin").PlaceOrder(shop.basket(customer))

    assert shop.get(customer, placed.order_id).customer_id == customer


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": "usr 1"}, "customer_id"),
        ({"items": {}}, "items"),
        ({"items": {"prod_7721": 0}}, "items[0].quantity"),
        ({"items": {"prod_7721": -1}}, "items[0].quantity"),
        ({"items": {"prod_7721": 10_001}}, "items[0].quantity"),
        ({"items": {"prod_7721": 1, "": 1}}, "items[1].product_id"),
        ({"items": {f"prod_{number}": 1 for number in range(101)}}, "items"),
        ({"payment_method": ""}, "payment_method"),
        ({"request_id": "two words"}, "request_id"),
        ({"request_id": "x" * 129}, "request_id"),
    ],
)
def test_a_faulty_field_is_named_before_anything_happens(
    counter: Shop, customer: str, changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(StatusError) as refusal:
        counter.place(customer, **changed)

    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in [each.field for each in refusal.value.violations]


def test_a_product_on_two_lines_is_refused(counter: Shop, customer: str) -> None:
    request = counter.basket(customer)
    request.items.add(product_id="prod_7721", quantity=1)

    with pytest.raises(StatusError) as refusal:
        counter.stub(customer).PlaceOrder(request)

    assert [each.field for each in refusal.value.violations] == ["items"]


def test_nobody_orders_without_signing_in(counter: Shop, customer: str) -> None:
    with pytest.raises(StatusError) as refusal:
        counter.stub("").PlaceOrder(counter.basket(customer))

    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_ids_sort_by_the_time_of_their_orders(counter: Shop, customer: str) -> None:
    ids = []
    for _ in range(5):
        ids.append(counter.place(customer).order_id)
        counter.clock.advance(seconds=1)

    assert ids == sorted(ids)
