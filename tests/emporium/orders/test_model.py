from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from commerce.orders.v1 import errors_pb2
from hypothesis import given
from hypothesis import strategies as st
from portico.v1 import options_pb2

from emporium.orders import model, wire
from emporium.orders.model import CancelReason, IllegalMove, Item, Line, Order, Status
from portico.context import ANONYMOUS, Identity
from portico.errors import StatusError

NOON = datetime(2026, 5, 29, 12, tzinfo=UTC)
LINES = st.lists(
    st.builds(
        Line,
        product_id=st.just("prod_1"),
        title=st.just("One"),
        quantity=st.integers(1, 10_000),
        unit_price=st.integers(1, 100_000_000),
    ),
    min_size=1,
    max_size=100,
).map(tuple)
MOVES = {
    Status.PAID: lambda order, at: order.paid(at=at),
    Status.SHIPPED: lambda order, at: order.shipped(at=at),
    Status.DELIVERED: lambda order, at: order.delivered(at=at),
    Status.RETURNED: lambda order, at: order.returned(at=at),
    Status.CANCELLED: lambda order, at: order.cancelled(CancelReason.REQUESTED, at=at),
}
ALLOWED = {
    (Status.CREATED, Status.PAID),
    (Status.CREATED, Status.CANCELLED),
    (Status.PAID, Status.SHIPPED),
    (Status.PAID, Status.CANCELLED),
    (Status.SHIPPED, Status.DELIVERED),
    (Status.DELIVERED, Status.RETURNED),
}


def an_order(status: Status = Status.CREATED, lines: tuple[Line, ...] = ()) -> Order:
    return Order(
        order_id="ord_1",
        customer_id="usr_1",
        status=status,
        lines=lines or (Line("prod_7721", "Kettle", 2, 7499),),
        currency="USD",
        payment_method="pm_visa",
        payment_id="pay_1",
        created_at=NOON,
        updated_at=NOON,
        cancel_reason=CancelReason.REQUESTED if status is Status.CANCELLED else None,
    )


@given(LINES)
def test_the_total_is_the_sum_of_quantity_times_price(lines: tuple[Line, ...]) -> None:
    assert an_order(lines=lines).total == sum(line.quantity * line.unit_price for line in lines)


@given(LINES)
def test_the_largest_order_fits_into_the_column_of_its_total(lines: tuple[Line, ...]) -> None:
    assert 0 < an_order(lines=lines).total < 2**63


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("to", MOVES)
def test_an_order_makes_the_moves_of_the_contract_and_no_other(status: Status, to: Status) -> None:
    order = an_order(status)

    if (status, to) in ALLOWED:
        moved = MOVES[to](order, NOON + timedelta(seconds=1))
        assert (moved.status, moved.updated_at) == (to, NOON + timedelta(seconds=1))
        assert replace(moved, status=order.status, updated_at=NOON, cancel_reason=None) == order
    else:
        with pytest.raises(IllegalMove, match=f"ord_1 is {status} and cannot become {to}"):
            MOVES[to](order, NOON)


@given(st.lists(st.sampled_from(list(MOVES)), max_size=12))
def test_states_only_advance_whatever_is_tried(tries: list[Status]) -> None:
    order, seen = an_order(), [Status.CREATED]
    for to in tries:
        try:
            order = MOVES[to](order, NOON)
        except IllegalMove:
            continue
        seen.append(order.status)

    assert len(seen) == len(set(seen))
    assert set(pairwise(seen)) <= ALLOWED


@given(st.integers(-100_000, 100_000))
def test_an_order_is_never_changed_before_it_was_made(seconds: int) -> None:
    assert an_order().paid(at=NOON + timedelta(seconds=seconds)).updated_at >= NOON


def test_only_a_cancelled_order_says_why() -> None:
    assert an_order().paid(at=NOON).cancel_reason is None
    assert an_order().cancelled(CancelReason.HOLD_EXPIRED, at=NOON).cancel_reason == "HOLD_EXPIRED"


def fingerprint(**changed: object) -> str:
    content: dict[str, object] = {
        "customer_id": "usr_1",
        "items": (Item("prod_1", 1), Item("prod_2", 2)),
        "payment_method": "pm_visa",
        "request_id": "basket-42",
    }
    return model.place_request(**(content | changed)).fingerprint  # type: ignore[arg-type]


def test_the_same_content_has_the_same_fingerprint_whatever_its_request_id() -> None:
    assert fingerprint() == fingerprint(request_id="basket-43")


@pytest.mark.parametrize(
    "changed",
    [
        {"customer_id": "usr_2"},
        {"items": (Item("prod_1", 1), Item("prod_2", 3))},
        {"items": (Item("prod_2", 2), Item("prod_1", 1))},
        {"items": (Item("prod_1", 1),)},
        {"items": (Item("prod_1", 12), Item("prod_2", 2))},
        {"payment_method": "pm_other"},
    ],
)
def test_other_content_has_another_fingerprint(changed: dict[str, object]) -> None:
    assert fingerprint(**changed) != fingerprint()


def test_a_run_is_named_after_its_request_and_without_one_after_its_order() -> None:
    asked = model.place_request(
        customer_id="usr_1", items=(Item("prod_1", 1),), payment_method="pm", request_id="basket-42"
    )

    assert model.run_key(asked, order_id="ord_1") == model.run_key(asked, order_id="ord_2")
    assert model.run_key(replace(asked, request_id=""), order_id="ord_1") == "ord_1"
    assert model.run_key(replace(asked, customer_id="usr_2"), order_id="ord_1") != model.run_key(
        asked, order_id="ord_1"
    )


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [
        (Identity("usr_1"), True),
        (Identity("usr_2", frozenset({"admin"})), True),
        (Identity("usr_2", frozenset({"customer", "business"})), False),
        (ANONYMOUS, False),
    ],
)
def test_an_order_is_seen_by_its_customer_and_by_administrators(
    identity: Identity, allowed: bool
) -> None:
    assert model.may_see("usr_1", identity) is allowed


def test_every_refusal_is_in_the_contract_with_its_code() -> None:
    asked = model.cancel_request(customer_id="usr_1", order_id="ord_1", request_id="cancel-1")
    with pytest.raises(StatusError) as token:
        wire.position_of("guess", customer_id="usr_1")
    refusals = [
        model.customer_mismatch("usr_1"),
        model.order_not_found("ord_1"),
        model.not_cancellable(an_order(Status.SHIPPED)),
        model.request_id_reused(asked),
        token.value,
    ]

    declared = {
        value.name: value.GetOptions().Extensions[options_pb2.code]
        for value in errors_pb2.ErrorReason.DESCRIPTOR.values
        if value.number
    }

    assert {each.reason: each.code().value[0] for each in refusals} == declared
