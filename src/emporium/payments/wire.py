"""Between the contract's messages and the model."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from commerce.payments.v1 import events_pb2, payment_pb2, payments_service_pb2, webhook_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage

from emporium.payments.model import MINOR_PER_UNIT, Money, Payment, Refund, Status

if TYPE_CHECKING:
    from datetime import datetime

    from emporium.payments.model import News

_NANOS_PER_UNIT = 1_000_000_000
_NANOS_PER_MINOR = _NANOS_PER_UNIT // MINOR_PER_UNIT


def charge(request: payments_service_pb2.ChargeRequest, *, provider: str, at: datetime) -> Payment:
    """The payment that is to be opened with this provider."""
    return Payment(
        payment_id=request.payment_id,
        order_id=request.order_id,
        customer_id=request.customer_id,
        status=Status.PENDING,
        amount=_money(request.amount),
        refunded=0,
        payment_method=request.payment_method,
        provider=provider,
        request_id=request.request_id,
        created_at=at,
        updated_at=at,
    )


def refund(request: payments_service_pb2.RefundRequest) -> Refund:
    """What is to be given back."""
    return Refund(
        request_id=request.request_id,
        payment_id=request.payment_id,
        amount=_money(request.amount),
    )


def payment_message(payment: Payment) -> payment_pb2.Payment:
    """A payment as the contract tells it."""
    return payment_pb2.Payment(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        status=status(payment.status),
        amount=money_message(payment.amount),
        refunded_amount=_refunded(payment),
        payment_method=payment.payment_method,
        provider=payment.provider,
        created_at=_timestamp(payment.created_at),
        updated_at=_timestamp(payment.updated_at),
    )


def status(status: Status) -> payment_pb2.Payment.Status.ValueType:
    """A status as the contract tells it."""
    return payment_pb2.Payment.Status.Value(status)


def money_message(money: Money) -> MoneyMessage:
    """An amount as the contract tells it."""
    units, rest = divmod(money.minor, MINOR_PER_UNIT)
    return MoneyMessage(
        currency_code=money.currency_code, units=units, nanos=rest * _NANOS_PER_MINOR
    )


# Events


def requested(payment: Payment) -> events_pb2.PaymentRequested:
    """The fact that a charge was opened."""
    return events_pb2.PaymentRequested(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        amount=money_message(payment.amount),
        payment_method=payment.payment_method,
        provider=payment.provider,
        requested_at=_timestamp(payment.created_at),
    )


def succeeded(payment: Payment) -> events_pb2.PaymentSucceeded:
    """The fact that the money was taken."""
    return events_pb2.PaymentSucceeded(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        amount=money_message(payment.amount),
        succeeded_at=_timestamp(payment.updated_at),
    )


def failed(payment: Payment) -> events_pb2.PaymentFailed:
    """The fact that it was declined."""
    return events_pb2.PaymentFailed(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        amount=money_message(payment.amount),
        failed_at=_timestamp(payment.updated_at),
    )


def voided(payment: Payment) -> events_pb2.PaymentVoided:
    """The fact that it was given up."""
    return events_pb2.PaymentVoided(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        amount=money_message(payment.amount),
        voided_at=_timestamp(payment.updated_at),
    )


def refunded(payment: Payment, amount: Money) -> events_pb2.PaymentRefunded:
    """The fact that ``amount`` goes back, and how much of the payment has in all."""
    return events_pb2.PaymentRefunded(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        amount=money_message(amount),
        refunded_amount=_refunded(payment),
        in_full=payment.left == 0,
        refunded_at=_timestamp(payment.updated_at),
    )


def mismatched(payment: Payment, news: News, *, at: datetime) -> events_pb2.PaymentAmountMismatched:
    """The fact that a provider spoke of another amount."""
    return events_pb2.PaymentAmountMismatched(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        amount=money_message(payment.amount),
        received_amount=_received(news.amount, payment.amount.currency_code),
        noticed_at=_timestamp(at),
    )


def contradicted(payment: Payment, news: News, *, at: datetime) -> events_pb2.PaymentContradicted:
    """The fact that a provider told of another end."""
    return events_pb2.PaymentContradicted(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        customer_id=payment.customer_id,
        amount=money_message(payment.amount),
        status=status(payment.status),
        outcome=webhook_pb2.WebhookNotification.Outcome.Value(news.outcome),
        noticed_at=_timestamp(at),
    )


def received_refund(event: events_pb2.PaymentRefunded) -> tuple[Money, str]:
    """What goes back, and a name for it that no other refund of the payment has."""
    so_far = _money(event.refunded_amount)
    return _money(event.amount), f"{event.payment_id}/{so_far.minor}"


def _refunded(payment: Payment) -> MoneyMessage:
    return money_message(Money(payment.refunded, payment.amount.currency_code))


def _money(message: MoneyMessage) -> Money:
    minor = message.units * MINOR_PER_UNIT + message.nanos // _NANOS_PER_MINOR
    return Money(minor, message.currency_code)


def _received(amount: Decimal, currency_code: str) -> MoneyMessage:
    units, nanos = divmod(int(amount.scaleb(9)), _NANOS_PER_UNIT)
    return MoneyMessage(currency_code=currency_code, units=units, nanos=nanos)


def _timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
