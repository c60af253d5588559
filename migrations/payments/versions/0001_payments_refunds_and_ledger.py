"""Payments, refunds, the double-entry ledger and what a person has to look at."""

from __future__ import annotations

from alembic import op

from portico.events import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    # A row without an amount is an id that was given up before it was opened.
    op.execute("""
        CREATE TABLE payments (
            payment_id     text CONSTRAINT payments_pkey PRIMARY KEY,
            order_id       text NOT NULL,
            customer_id    text NOT NULL,
            status         text NOT NULL,
            currency_code  text NOT NULL,
            amount_minor   bigint NOT NULL,
            refunded_minor bigint NOT NULL,
            payment_method text NOT NULL,
            provider       text NOT NULL,
            request_id     text CONSTRAINT payments_request_once UNIQUE,
            created_at     timestamptz NOT NULL,
            updated_at     timestamptz NOT NULL,
            CONSTRAINT payments_status_known CHECK (status IN
                ('PENDING', 'SUCCEEDED', 'FAILED', 'VOIDED', 'REFUNDED', 'PARTIALLY_REFUNDED')),
            CONSTRAINT payments_amount_positive CHECK (amount_minor > 0 OR amount_minor = 0 AND status = 'VOIDED'),
            CONSTRAINT payments_currency_iso CHECK (amount_minor = 0 OR currency_code ~ '^[A-Z]{3}$'),
            CONSTRAINT payments_refunded_fits_status CHECK (CASE status
                WHEN 'REFUNDED' THEN refunded_minor = amount_minor
                WHEN 'PARTIALLY_REFUNDED' THEN refunded_minor > 0 AND refunded_minor < amount_minor
                ELSE refunded_minor = 0 END)
        )
    """)
    op.execute("""
        CREATE INDEX payments_outstanding ON payments (customer_id) WHERE status = 'PENDING'
    """)
    op.execute("""
        CREATE TABLE refunds (
            request_id    text CONSTRAINT refunds_pkey PRIMARY KEY,
            payment_id    text NOT NULL CONSTRAINT refunds_payment REFERENCES payments,
            currency_code text NOT NULL,
            amount_minor  bigint NOT NULL,
            refunded_at   timestamptz NOT NULL,
            CONSTRAINT refunds_amount_positive CHECK (amount_minor > 0)
        )
    """)
    op.execute("CREATE INDEX refunds_of_payment ON refunds (payment_id)")
    op.execute("""
        CREATE TABLE postings (
            posting_id    bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT postings_pkey PRIMARY KEY,
            payment_id    text NOT NULL CONSTRAINT postings_payment REFERENCES payments,
            entry         text NOT NULL,
            account       text NOT NULL,
            currency_code text NOT NULL,
            amount_minor  bigint NOT NULL,
            posted_at     timestamptz NOT NULL,
            CONSTRAINT postings_entry_known CHECK (entry IN ('CHARGED', 'SUCCEEDED', 'FAILED', 'VOIDED', 'REFUNDED')),
            CONSTRAINT postings_account_known CHECK (account IN ('CUSTOMER', 'PROVIDER', 'SALES')),
            CONSTRAINT postings_not_zero CHECK (amount_minor <> 0)
        )
    """)
    op.execute("CREATE INDEX postings_of_payment ON postings (payment_id)")
    _balance_at_commit()
    _keep_postings()
    # What providers said that cannot be: one row however often it is said.
    op.execute("""
        CREATE TABLE discrepancies (
            discrepancy_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT discrepancies_pkey PRIMARY KEY,
            payment_id     text NOT NULL CONSTRAINT discrepancies_payment REFERENCES payments,
            kind           text NOT NULL,
            status         text NOT NULL,
            outcome        text NOT NULL,
            amount         numeric NOT NULL,
            noticed_at     timestamptz NOT NULL,
            CONSTRAINT discrepancies_kind_known CHECK (kind IN ('CONTRADICTED', 'MISMATCHED')),
            CONSTRAINT discrepancies_once UNIQUE (payment_id, kind, outcome, amount)
        )
    """)
    schema.create_v1(op, "payments")


def _balance_at_commit() -> None:
    op.execute("""
        CREATE FUNCTION refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM payments.postings WHERE payment_id = NEW.payment_id
                GROUP BY currency_code HAVING sum(amount_minor) <> 0
            ) THEN
                RAISE EXCEPTION 'the postings of payment % do not add up to zero', NEW.payment_id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'postings_sum_to_zero';
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE CONSTRAINT TRIGGER postings_sum_to_zero AFTER INSERT ON postings
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unbalanced()
    """)


def _keep_postings() -> None:
    op.execute("""
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a posting is never changed: post the opposite'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'postings_are_final';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER postings_are_final BEFORE UPDATE OR DELETE ON postings
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """)
