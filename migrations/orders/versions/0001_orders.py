"""Orders, their lines, and the requests that they answer."""

from __future__ import annotations

from alembic import op

from portico.events import schema

revision = "0001"
down_revision = None

_ORDERS = """
CREATE TABLE orders.orders (
    order_id       text PRIMARY KEY,
    customer_id    text NOT NULL,
    status         text NOT NULL,
    cancel_reason  text,
    currency       text NOT NULL,
    total_minor    bigint NOT NULL,
    payment_method text NOT NULL,
    payment_id     text NOT NULL,
    created_at     timestamptz(0) NOT NULL,
    updated_at     timestamptz(0) NOT NULL,
    CONSTRAINT orders_payment_id_key UNIQUE (payment_id),
    CONSTRAINT orders_status_known
        CHECK (status IN ('CREATED', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED', 'RETURNED')),
    CONSTRAINT orders_cancel_reason_known
        CHECK (cancel_reason IN ('REQUESTED', 'PAYMENT_FAILED', 'HOLD_EXPIRED', 'NOT_PLACED')),
    CONSTRAINT orders_cancelled_for_a_reason CHECK ((status = 'CANCELLED') = (cancel_reason IS NOT NULL)),
    CONSTRAINT orders_currency_is_a_code CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT orders_total_above_zero CHECK (total_minor > 0),
    CONSTRAINT orders_changed_after_creation CHECK (updated_at >= created_at)
)
"""
# Pages of a list: of one customer, and of everybody.
_OF_CUSTOMER = """
CREATE INDEX orders_of_customer ON orders.orders (customer_id, created_at DESC, order_id DESC)
"""
_NEWEST_FIRST = "CREATE INDEX orders_newest_first ON orders.orders (created_at DESC, order_id DESC)"

_ITEMS = """
CREATE TABLE orders.order_items (
    order_id         text NOT NULL,
    position         integer NOT NULL,
    product_id       text NOT NULL,
    title            text NOT NULL,
    quantity         integer NOT NULL,
    unit_price_minor bigint NOT NULL,
    line_total_minor bigint NOT NULL,
    PRIMARY KEY (order_id, position),
    CONSTRAINT order_items_of_an_order FOREIGN KEY (order_id) REFERENCES orders.orders,
    CONSTRAINT order_items_product_once UNIQUE (order_id, product_id),
    CONSTRAINT order_items_position_from_one CHECK (position >= 1),
    CONSTRAINT order_items_quantity_in_range CHECK (quantity BETWEEN 1 AND 10000),
    CONSTRAINT order_items_price_above_zero CHECK (unit_price_minor > 0),
    CONSTRAINT order_items_total_exact CHECK (line_total_minor = quantity * unit_price_minor)
)
"""

# Which order answers a request that may come again. A key of its own, apart from the orders, so that
# old ones can be forgotten.
_REQUESTS = """
CREATE TABLE orders.requests (
    customer_id text NOT NULL,
    operation   text NOT NULL,
    request_id  text NOT NULL,
    fingerprint text NOT NULL,
    order_id    text NOT NULL,
    CONSTRAINT requests_pkey PRIMARY KEY (customer_id, operation, request_id),
    CONSTRAINT requests_of_an_order FOREIGN KEY (order_id) REFERENCES orders.orders,
    CONSTRAINT requests_operation_known CHECK (operation IN ('PLACE', 'CANCEL')),
    CONSTRAINT requests_request_id_not_empty CHECK (request_id <> '')
)
"""
_REQUESTS_OF_ORDER = "CREATE INDEX requests_of_order ON orders.requests (order_id)"


def upgrade() -> None:
    """Make the tables."""
    for statement in (_ORDERS, _OF_CUSTOMER, _NEWEST_FIRST, _ITEMS, _REQUESTS, _REQUESTS_OF_ORDER):
        op.execute(statement)
    schema.create_v1(op, "orders")
