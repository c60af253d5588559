"""Seeing to it that no money is kept for an order that has ended."""

from __future__ import annotations

from commerce.payments.v1.payments_service_pb2 import RefundRequest, VoidRequest
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub

from emporium.orders import wire
from portico.errors import StatusError
from portico.workflow import trying

_TAKEN_ALREADY = "PAYMENT_NOT_VOIDABLE"


def void_or_refund(
    payments: PaymentsServiceStub, *, payment_id: str, order_id: str, amount: int, currency: str
) -> None:
    """Give the payment up; when the provider was faster and has taken the money, give that back."""
    try:
        with trying():
            payments.Void(VoidRequest(payment_id=payment_id))
    except StatusError as refusal:
        if refusal.reason != _TAKEN_ALREADY:
            raise
        refund(payments, payment_id=payment_id, order_id=order_id, amount=amount, currency=currency)


def refund(
    payments: PaymentsServiceStub, *, payment_id: str, order_id: str, amount: int, currency: str
) -> None:
    """Give back all that was taken for an order; ``amount`` in minor units.

    The request is named after the order and not after the step: several workflows may come to this for
    one order, and the money goes back once.
    """
    payments.Refund(
        RefundRequest(
            payment_id=payment_id,
            amount=wire.money(amount, currency),
            request_id=f"{order_id}/refund",
        )
    )
