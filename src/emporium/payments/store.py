"""The tables of payments and every statement on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    MetaData,
    Numeric,
    Table,
    Text,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from emporium.payments.ledger import postings
from emporium.payments.model import Money, Payment, Refund, Status

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Row

    from emporium.payments.ledger import Entry
    from emporium.payments.model import News, Verdict

_metadata = MetaData(schema="payments")

payments = Table(
    "payments",
    _metadata,
    Column("payment_id", Text, primary_key=True),
    Column("order_id", Text),
    Column("customer_id", Text),
    Column("status", Text),
    Column("currency_code", Text),
    Column("amount_minor", BigInteger),
    Column("refunded_minor", BigInteger),
    Column("payment_method", Text),
    Column("provider", Text),
    Column("request_id", Text),
    Column("created_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),
)

refunds = Table(
    "refunds",
    _metadata,
    Column("request_id", Text, primary_key=True),
    Column("payment_id", Text),
    Column("currency_code", Text),
    Column("amount_minor", BigInteger),
    Column("refunded_at", DateTime(timezone=True)),
)

discrepancies = Table(
    "discrepancies",
    _metadata,
    Column("discrepancy_id", BigInteger, primary_key=True),
    Column("payment_id", Text),
    Column("kind", Text),
    Column("status", Text),
    Column("outcome", Text),
    Column("amount", Numeric),
    Column("noticed_at", DateTime(timezone=True)),
)


def open_payment(session: Connection, payment: Payment, entry: Entry) -> bool:
    """Open the payment and post the entry, in one statement.

    False, and no change, when its id or its request_id is there already; of two at the same moment
    the second waits for the first.
    """
    row = _columns(payment) | _posted(payment, entry, payment.amount.minor)
    return session.execute(_OPEN, row).rowcount > 0


def rivals(session: Connection, wanted: Payment) -> list[Payment]:
    """The rows that keep ``wanted`` from being opened, at most two."""
    in_the_way = or_(
        payments.c.payment_id == wanted.payment_id, payments.c.request_id == wanted.request_id
    )
    return [_payment(row) for row in session.execute(select(payments).where(in_the_way))]


def find(session: Connection, payment_id: str) -> Payment | None:
    """The payment as it is at the moment; also one that was given up before it was opened."""
    row = session.execute(select(payments).where(payments.c.payment_id == payment_id)).one_or_none()
    return None if row is None else _payment(row)


def lock(session: Connection, payment_id: str) -> Payment | None:
    """As ``find``; nobody else can change it until this transaction ends."""
    wanted = select(payments).where(payments.c.payment_id == payment_id)
    row = session.execute(wanted.with_for_update(key_share=True)).one_or_none()
    return None if row is None else _payment(row)


def save(session: Connection, payment: Payment, entry: Entry, minor: int) -> None:
    """Write down where a locked payment stands now and post the entry about ``minor``, in one statement."""
    session.execute(_SAVE, _columns(payment) | _posted(payment, entry, minor))


def reroute(session: Connection, payment: Payment, provider: str, *, now: datetime) -> bool:
    """Have another provider take the payment; False when it is not PENDING with the first one any more."""
    moved = session.execute(
        update(payments)
        .where(
            payments.c.payment_id == payment.payment_id,
            payments.c.status == Status.PENDING,
            payments.c.provider == payment.provider,
        )
        .values(provider=provider, updated_at=now)
    )
    return moved.rowcount == 1


def give_up_beforehand(session: Connection, payment_id: str, *, now: datetime) -> bool:
    """Note that this id is given up, so that a charge which comes late is refused.

    False when there is a payment of this id after all, opened at this moment.
    """
    row = {
        "payment_id": payment_id,
        "status": Status.VOIDED,
        **dict.fromkeys(("order_id", "customer_id", "payment_method", "provider"), ""),
        "currency_code": "",
        "amount_minor": 0,
        "refunded_minor": 0,
        "created_at": now,
        "updated_at": now,
    }
    noted = insert(payments).values(row).on_conflict_do_nothing().returning(payments.c.payment_id)
    return session.execute(noted).one_or_none() is not None


def find_refund(session: Connection, request_id: str) -> Refund | None:
    """The refund that came with this request_id."""
    row = session.execute(select(refunds).where(refunds.c.request_id == request_id)).one_or_none()
    if row is None:
        return None
    amount = Money(row.amount_minor, row.currency_code)
    return Refund(request_id=row.request_id, payment_id=row.payment_id, amount=amount)


def add_refund(session: Connection, refund: Refund, *, now: datetime) -> bool:
    """Write the refund down; False when its request_id is there already."""
    row = {
        "request_id": refund.request_id,
        "payment_id": refund.payment_id,
        "currency_code": refund.amount.currency_code,
        "amount_minor": refund.amount.minor,
        "refunded_at": now,
    }
    noted = insert(refunds).values(row).on_conflict_do_nothing().returning(refunds.c.request_id)
    return session.execute(noted).one_or_none() is not None


def add_discrepancy(
    session: Connection, payment: Payment, news: News, verdict: Verdict, *, now: datetime
) -> bool:
    """Write down what a person has to look at; False when the same was said before."""
    row = {
        "payment_id": payment.payment_id,
        "kind": verdict.name,
        "status": payment.status,
        "outcome": news.outcome,
        "amount": news.amount,
        "noticed_at": now,
    }
    noted = (
        insert(discrepancies)
        .values(row)
        .on_conflict_do_nothing()
        .returning(discrepancies.c.discrepancy_id)
    )
    return session.execute(noted).one_or_none() is not None


def outstanding(session: Connection, customer_id: str) -> list[Money]:
    """What the customer owes in each currency, in the order of their codes."""
    owed = func.sum(payments.c.amount_minor)
    found = session.execute(
        select(payments.c.currency_code, owed)
        .where(payments.c.customer_id == customer_id, payments.c.status == Status.PENDING)
        .group_by(payments.c.currency_code)
        .order_by(payments.c.currency_code)
    )
    return [Money(int(minor), currency_code) for currency_code, minor in found]


def _columns(payment: Payment) -> dict[str, Any]:
    return {
        "payment_id": payment.payment_id,
        "order_id": payment.order_id,
        "customer_id": payment.customer_id,
        "status": payment.status,
        "currency_code": payment.amount.currency_code,
        "amount_minor": payment.amount.minor,
        "refunded_minor": payment.refunded,
        "payment_method": payment.payment_method,
        "provider": payment.provider,
        "request_id": payment.request_id,
        "created_at": payment.created_at,
        "updated_at": payment.updated_at,
    }


def _posted(payment: Payment, entry: Entry, minor: int) -> dict[str, Any]:
    both = postings(entry, minor)
    return {
        "entry": entry,
        "accounts": [posting.account.value for posting in both],
        "amounts": [posting.minor for posting in both],
    }


def _payment(row: Row[Any]) -> Payment:
    return Payment(
        payment_id=row.payment_id,
        order_id=row.order_id,
        customer_id=row.customer_id,
        status=Status(row.status),
        amount=Money(row.amount_minor, row.currency_code),
        refunded=row.refunded_minor,
        payment_method=row.payment_method,
        provider=row.provider,
        request_id=row.request_id or "",
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


_POST = """
WITH done AS ({done} RETURNING payment_id, currency_code, updated_at)
INSERT INTO payments.postings (payment_id, entry, account, currency_code, amount_minor, posted_at)
SELECT done.payment_id, :entry, side.account, done.currency_code, side.minor, done.updated_at
FROM done CROSS JOIN unnest(CAST(:accounts AS text[]), CAST(:amounts AS bigint[])) AS side(account, minor)
"""

_OPEN = text(
    _POST.format(
        done="""
    INSERT INTO payments.payments (payment_id, order_id, customer_id, status, currency_code, amount_minor,
        refunded_minor, payment_method, provider, request_id, created_at, updated_at)
    VALUES (:payment_id, :order_id, :customer_id, :status, :currency_code, :amount_minor,
        :refunded_minor, :payment_method, :provider, :request_id, :created_at, :updated_at)
    ON CONFLICT DO NOTHING"""
    )
)

_SAVE = text(
    _POST.format(
        done="""
    UPDATE payments.payments SET status = :status, refunded_minor = :refunded_minor, updated_at = :updated_at
    WHERE payment_id = :payment_id"""
    )
)
