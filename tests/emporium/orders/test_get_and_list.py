from __future__ import annotations

from itertools import chain
from typing import Any

import grpc
import pytest
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1.order_pb2 import Order
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import StatusError

Shop = Any  # as in conftest


def pages(shop: Shop, user: str, *roles: str, size: int, **request: Any) -> list[list[str]]:
    found, token = [], ""
    while True:
        page = shop.listed(user, *roles, page_size=size, page_token=token, **request)
        found.append([order.order_id for order in page.orders])
        token = page.next_page_token
        if not token:
            return found


def test_an_unknown_order_is_not_found(shop: Shop, customer: str) -> None:
    with pytest.raises(StatusError) as refusal:
        shop.get(customer, "ord_none")

    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    assert refusal.value.reason == "ORDER_NOT_FOUND"
    assert refusal.value.metadata == {"order_id": "ord_none"}


def test_somebody_elses_order_is_not_found_in_the_same_words(shop: Shop, customer: str) -> None:
    order_id = shop.place(customer).order_id
    with pytest.raises(StatusError) as unknown:
        shop.get(customer, "ord_none")

    with pytest.raises(StatusError) as refusal:
        shop.get("usr_thief", order_id)

    assert refusal.value.code() is unknown.value.code()
    assert refusal.value.message == unknown.value.message
    assert refusal.value.reason == unknown.value.reason


def test_an_administrator_sees_everybodys_order(shop: Shop, customer: str) -> None:
    order_id = shop.place(customer).order_id

    request = rpc.GetOrderRequest(order_id=order_id)
    assert shop.stub("usr_admin", "admin").GetOrder(request).customer_id == customer


def test_a_later_price_does_not_show_in_an_order(counter: Shop, customer: str) -> None:
    counter.catalog.prices["prod_sale"] = 1000
    order_id = counter.place(customer, items={"prod_sale": 1}).order_id
    counter.catalog.prices["prod_sale"] = 500

    assert counter.get(customer, order_id).total_amount == 10.0


def test_a_list_has_the_newest_first(shop: Shop, customer: str) -> None:
    ids = []
    for _ in range(3):
        ids.append(shop.place(customer).order_id)
        shop.clock.advance(seconds=1)

    listed = shop.listed(customer)

    assert [order.order_id for order in listed.orders] == ids[::-1]
    assert listed.orders[0] == shop.get(customer, ids[-1])
    assert listed.next_page_token == ""


def test_somebody_who_has_ordered_nothing_has_an_empty_list(shop: Shop, customer: str) -> None:
    assert shop.listed(customer) == rpc.ListOrdersResponse()


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_pages_show_every_order_once_and_in_order(counter: Shop, customer: str, size: int) -> None:
    ids = []
    for number in range(5):
        ids.append(counter.place(customer).order_id)
        counter.clock.advance(seconds=number % 2)  # some share their second

    found = pages(counter, customer, size=size)

    assert list(chain(*found)) == ids[::-1]
    assert all(len(page) == size for page in found[:-1])


def test_an_order_placed_between_two_pages_disturbs_neither(counter: Shop, customer: str) -> None:
    ids = [counter.place(customer).order_id for _ in range(4)]
    first = counter.listed(customer, page_size=2)
    counter.place(customer)

    second = counter.listed(customer, page_size=2, page_token=first.next_page_token)

    assert [order.order_id for order in [*first.orders, *second.orders]] == ids[::-1]
    assert second.next_page_token == ""


@settings(max_examples=20)
@given(data=st.data())
def test_no_walk_over_the_pages_skips_or_repeats(counter: Shop, data: st.DataObject) -> None:
    customer = counter.new_customer()
    ids = []
    for _ in range(data.draw(st.integers(0, 6))):
        ids.append(counter.place(customer).order_id)
        counter.clock.advance(seconds=data.draw(st.sampled_from([0, 0.3, 1])))

    size = data.draw(st.integers(1, 4))

    assert list(chain(*pages(counter, customer, size=size))) == ids[::-1]


def test_a_page_holds_twenty_unless_asked_and_never_more_than_a_hundred(
    counter: Shop, customer: str
) -> None:
    for _ in range(101):
        counter.place(customer)

    assert len(counter.listed(customer).orders) == 20
    assert len(counter.listed(customer, page_size=1000).orders) == 100


def test_administrators_list_everybodys_orders_or_those_of_one(
    counter: Shop, customer: str
) -> None:
    other = counter.new_customer()
    mine, theirs = counter.place(customer).order_id, counter.place(other).order_id

    everybody = counter.listed("usr_admin", "admin", page_size=2)
    one = counter.listed("usr_admin", "admin", customer_id=customer)

    assert [order.order_id for order in everybody.orders] == [theirs, mine]
    assert [order.order_id for order in one.orders] == [mine]


def test_nobody_lists_somebody_elses_orders(shop: Shop, customer: str) -> None:
    with pytest.raises(StatusError) as refusal:
        shop.listed("usr_thief", customer_id=customer)

    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refusal.value.reason == "CUSTOMER_MISMATCH"


def test_naming_oneself_lists_the_same(counter: Shop, customer: str) -> None:
    counter.place(customer)

    assert counter.listed(customer, customer_id=customer) == counter.listed(customer)


def test_a_token_of_another_list_is_refused(shop: Shop, customer: str) -> None:
    for _ in range(2):
        shop.place(customer)
    token = shop.listed(customer, page_size=1).next_page_token

    for user, roles, asked in (("usr_other", (), ""), ("usr_admin", ("admin",), "")):
        with pytest.raises(StatusError) as refusal:
            shop.listed(user, *roles, page_token=token, customer_id=asked)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refusal.value.reason == "PAGE_TOKEN_INVALID"


def test_a_page_of_less_than_nothing_is_refused(counter: Shop, customer: str) -> None:
    with pytest.raises(StatusError) as refusal:
        counter.listed(customer, page_size=-1)

    assert [each.field for each in refusal.value.violations] == ["page_size"]


@pytest.mark.parametrize("rpc_name", ["GetOrder", "ListOrders", "QuoteOrder", "CancelOrder"])
def test_nothing_is_shown_or_done_without_signing_in(counter: Shop, rpc_name: str) -> None:
    request = getattr(rpc, f"{rpc_name}Request")()

    with pytest.raises(StatusError) as refusal:
        getattr(counter.stub(""), rpc_name)(request)

    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_what_was_listed_is_what_is_got(counter: Shop, customer: str) -> None:
    order_id = counter.place(customer, items={"prod_lamp": 2, "prod_cent": 7}).order_id
    counter.cancel(customer, order_id)

    (listed,) = counter.listed(customer).orders

    assert listed == counter.get(customer, order_id)
    assert listed.status == Order.CANCELLED
