"""What the tables themselves refuse, whoever writes to them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from portico.data import constraint

Shop = Any  # as in conftest


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE orders.orders SET status = 'LOST'", "orders_status_known"),
        ("UPDATE orders.orders SET status = 'CANCELLED'", "orders_cancelled_for_a_reason"),
        ("UPDATE orders.orders SET cancel_reason = 'REQUESTED'", "orders_cancelled_for_a_reason"),
        (
            "UPDATE orders.orders SET status = 'CANCELLED', cancel_reason = 'WHIM'",
            "orders_cancel_reason_known",
        ),
        ("UPDATE orders.orders SET currency = 'usd'", "orders_currency_is_a_code"),
        ("UPDATE orders.orders SET total_minor = 0", "orders_total_above_zero"),
        (
            "UPDATE orders.orders SET updated_at = created_at - interval '1 second'",
            "orders_changed_after_creation",
        ),
        ("UPDATE orders.order_items SET quantity = 0", "order_items_quantity_in_range"),
        ("UPDATE orders.order_items SET quantity = 10001", "order_items_quantity_in_range"),
        ("UPDATE orders.order_items SET unit_price_minor = 0", "order_items_price_above_zero"),
        (
            "UPDATE orders.order_items SET line_total_minor = line_total_minor + 1",
            "order_items_total_exact",
        ),
        ("UPDATE orders.order_items SET position = 0", "order_items_position_from_one"),
        ("UPDATE orders.requests SET request_id = ''", "requests_request_id_not_empty"),
        ("UPDATE orders.requests SET operation = 'GUESS'", "requests_operation_known"),
        ("DELETE FROM orders.orders", "order_items_of_an_order"),
    ],
)
def test_a_row_that_breaks_a_law_is_refused(
    counter: Shop, customer: str, statement: str, broken: str
) -> None:
    order_id = counter.place(customer, request_id="basket-42").order_id

    with pytest.raises(IntegrityError) as refusal, counter.database.unit_of_work() as session:
        session.execute(text(f"{statement} WHERE order_id = :id"), {"id": order_id})

    assert constraint(refusal.value) == broken


def test_two_orders_never_share_a_payment(counter: Shop, customer: str) -> None:
    first, second = counter.place(customer), counter.place(customer)

    with pytest.raises(IntegrityError) as refusal, counter.database.unit_of_work() as session:
        session.execute(
            text("UPDATE orders.orders SET payment_id = :payment WHERE order_id = :id"),
            {"payment": first.payment_id, "id": second.order_id},
        )

    assert constraint(refusal.value) == "orders_payment_id_key"


def test_every_order_of_a_busy_shop_adds_up(counter: Shop, customer: str) -> None:
    counter.place(customer, items={"prod_7721": 3, "prod_cent": 10_000, "prod_lamp": 1})

    wrong = counter.query(
        """
        SELECT o.order_id FROM orders.orders AS o
        LEFT JOIN orders.order_items AS i USING (order_id)
        GROUP BY o.order_id HAVING o.total_minor IS DISTINCT FROM sum(i.line_total_minor)
        """
    )

    assert wrong == []


_OF_CUSTOMER = """
EXPLAIN SELECT * FROM orders.orders WHERE customer_id = 'usr_1'
ORDER BY created_at DESC, order_id DESC LIMIT 20
"""
_OF_EVERYBODY = """
EXPLAIN SELECT * FROM orders.orders WHERE (created_at, order_id) < (now(), 'ord_1')
ORDER BY created_at DESC, order_id DESC LIMIT 20
"""


@pytest.mark.parametrize(
    ("query", "index"),
    [(_OF_CUSTOMER, "orders_of_customer"), (_OF_EVERYBODY, "orders_newest_first")],
)
def test_every_list_is_read_along_an_index(counter: Shop, query: str, index: str) -> None:
    with counter.database.unit_of_work() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_sort = off"))
        plan = "\n".join(session.execute(text(query)).scalars())

    assert index in plan
    assert "Sort" not in plan
