"""The servicer of payments."""

from __future__ import annotations

import grpc
from commerce.payments.v1 import payments_service_pb2 as messages
from commerce.payments.v1.payment_pb2 import Payment
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceServicer

from emporium.payments import model, notification, signature, store, wire
from emporium.payments.cashier import Cashier
from emporium.payments.model import Verdict
from emporium.payments.providers import Providers
from portico.clock import Clock
from portico.context import current
from portico.data import Database

SIGNATURE_KEY = "x-webhook-signature"


class PaymentsService(PaymentsServiceServicer):
    """Opens payments, gives them up and back, shows them, and listens to providers."""

    def __init__(
        self, *, database: Database, cashier: Cashier, providers: Providers, clock: Clock
    ) -> None:
        self._database = database
        self._cashier = cashier
        self._providers = providers
        self._clock = clock

    def Charge(
        self, request: messages.ChargeRequest, context: grpc.ServicerContext
    ) -> messages.ChargeResponse:
        route = self._providers.route(request.payment_id, request.payment_method)
        if not route:
            raise model.method_not_found(request.payment_method)
        wanted = wire.charge(request, provider=route[0].name, at=self._clock.now())
        with self._database.unit_of_work() as session:
            payment = self._cashier.charge(session, wanted)
        return messages.ChargeResponse(payment=wire.payment_message(payment))

    def Void(
        self, request: messages.VoidRequest, context: grpc.ServicerContext
    ) -> messages.VoidResponse:
        with self._database.unit_of_work() as session:
            self._cashier.void(session, request.payment_id)
        return messages.VoidResponse()

    def Refund(
        self, request: messages.RefundRequest, context: grpc.ServicerContext
    ) -> messages.RefundResponse:
        with self._database.unit_of_work() as session:
            payment = self._cashier.refund(session, wire.refund(request))
        return messages.RefundResponse(payment=wire.payment_message(payment))

    def GetPayment(
        self, request: messages.GetPaymentRequest, context: grpc.ServicerContext
    ) -> Payment:
        with self._database.reading() as session:
            payment = store.find(session, request.payment_id)
        if payment is None or model.is_blank(payment):
            raise model.not_found(request.payment_id)
        if not model.may_see(current().identity, payment.customer_id):
            raise model.not_found(request.payment_id)
        return wire.payment_message(payment)

    def GetOutstandingBalance(
        self, request: messages.GetOutstandingBalanceRequest, context: grpc.ServicerContext
    ) -> messages.GetOutstandingBalanceResponse:
        if not model.may_see(current().identity, request.user_id):
            raise model.customer_mismatch(request.user_id)
        with self._database.reading() as session:
            owed = store.outstanding(session, request.user_id)
        return messages.GetOutstandingBalanceResponse(
            user_id=request.user_id, balances=map(wire.money_message, owed)
        )

    def ReceiveWebhook(
        self, request: messages.ReceiveWebhookRequest, context: grpc.ServicerContext
    ) -> messages.ReceiveWebhookResponse:
        body = request.payload.data
        signers = signature.signers(
            _signature_header(context),
            body,
            secrets=self._providers.secrets(),
            now=self._clock.now(),
        )
        news = notification.read(body)
        with self._database.unit_of_work() as session:
            payment = store.lock(session, news.payment_id)
            if payment is None or payment.order_id != news.order_id:
                raise model.not_found(news.payment_id)
            if payment.provider not in signers:
                raise signature.invalid("is not that of the payment's provider")
            payment, verdict = self._cashier.hear(session, payment, news)
        if verdict is Verdict.MISMATCHED:  # raised out here, so that the record of it stays
            raise model.amount_mismatched(payment, news.amount)
        return messages.ReceiveWebhookResponse(
            payment_id=payment.payment_id, status=wire.status(payment.status)
        )


def _signature_header(context: grpc.ServicerContext) -> str:
    """The one signature; none, or several headers that contradict each other, are no signature."""
    found = [value for key, value in context.invocation_metadata() if key == SIGNATURE_KEY]
    return str(found[0]) if len(found) == 1 else ""
