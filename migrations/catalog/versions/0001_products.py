"""Products, each with its price."""

from __future__ import annotations

from alembic import op

from portico.events import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    # The collation makes the order of the list that of the bytes, on every machine.
    op.execute("""
        CREATE TABLE products (
            product_id    text COLLATE "C" CONSTRAINT products_pkey PRIMARY KEY,
            title         text NOT NULL,
            description   text NOT NULL,
            currency_code text NOT NULL,
            price_minor   bigint NOT NULL,
            request_id    text CONSTRAINT products_request_once UNIQUE,
            created_at    timestamptz NOT NULL,
            CONSTRAINT products_currency_iso CHECK (currency_code ~ '^[A-Z]{3}$'),
            CONSTRAINT products_price_positive CHECK (price_minor > 0),
            CONSTRAINT products_title_given CHECK (title <> '')
        )
    """)
    schema.create_v1(op, "catalog")
