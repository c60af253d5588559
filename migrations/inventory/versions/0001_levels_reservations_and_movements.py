"""Levels, reservations and the movements that add up to the levels."""

from __future__ import annotations

from alembic import op

from portico.events import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE levels (
            product_id text COLLATE "C" CONSTRAINT levels_pkey PRIMARY KEY,
            on_hand    integer NOT NULL,
            reserved   integer NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT levels_reserved_not_negative CHECK (reserved >= 0),
            CONSTRAINT levels_never_oversold CHECK (reserved <= on_hand)
        ) WITH (fillfactor = 80)
    """)
    op.execute("""
        CREATE TABLE reservations (
            reservation_id text CONSTRAINT reservations_pkey PRIMARY KEY,
            status         text NOT NULL,
            expires_at     timestamptz NOT NULL,
            created_at     timestamptz NOT NULL,
            updated_at     timestamptz NOT NULL,
            CONSTRAINT reservations_status_known CHECK (status IN ('HELD', 'COMMITTED', 'RELEASED', 'EXPIRED'))
        )
    """)
    op.execute("""
        CREATE INDEX reservations_held_until ON reservations (expires_at) WHERE status = 'HELD'
    """)
    op.execute("""
        CREATE TABLE reservation_lines (
            reservation_id text NOT NULL,
            position       integer NOT NULL,
            product_id     text COLLATE "C" NOT NULL,
            quantity       integer NOT NULL,
            CONSTRAINT reservation_lines_pkey PRIMARY KEY (reservation_id, product_id),
            CONSTRAINT reservation_lines_reservation FOREIGN KEY (reservation_id) REFERENCES reservations,
            CONSTRAINT reservation_lines_quantity_positive CHECK (quantity > 0)
        )
    """)
    op.execute("""
        CREATE TABLE movements (
            movement_id    bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT movements_pkey PRIMARY KEY,
            product_id     text COLLATE "C" NOT NULL,
            kind           text NOT NULL,
            on_hand        integer NOT NULL,
            reserved       integer NOT NULL,
            reservation_id text,
            request_id     text,
            note           text NOT NULL DEFAULT '',
            moved_at       timestamptz NOT NULL,
            CONSTRAINT movements_product FOREIGN KEY (product_id) REFERENCES levels,
            CONSTRAINT movements_kind_fits_numbers CHECK (CASE kind
                WHEN 'ADJUSTED' THEN on_hand <> 0 AND reserved = 0
                WHEN 'RESERVED' THEN on_hand = 0 AND reserved > 0
                WHEN 'COMMITTED' THEN on_hand < 0 AND reserved = on_hand
                WHEN 'RELEASED' THEN on_hand = 0 AND reserved < 0
                WHEN 'EXPIRED' THEN on_hand = 0 AND reserved < 0
                WHEN 'RETURNED' THEN on_hand > 0 AND reserved = 0
                ELSE false END),
            CONSTRAINT movements_reason CHECK ((kind = 'ADJUSTED') = (reservation_id IS NULL))
        )
    """)
    op.execute("CREATE INDEX movements_of_product ON movements (product_id, movement_id)")
    op.execute("""
        CREATE UNIQUE INDEX movements_request_once ON movements (request_id) WHERE request_id IS NOT NULL
    """)
    schema.create_v1(op, "inventory")
