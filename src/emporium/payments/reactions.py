"""What is asked of providers once a change has been committed; never inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commerce.payments.v1.events_pb2 import PaymentRefunded, PaymentRequested, PaymentVoided

from emporium.payments import store, wire
from emporium.payments.cashier import Cashier
from emporium.payments.model import Status, answer
from emporium.payments.providers import ProviderDown, Providers
from portico.clock import Clock
from portico.data import Database
from portico.events import reacts_to
from portico.telemetry import logs

if TYPE_CHECKING:
    from emporium.payments.model import Outcome, Payment
    from emporium.payments.providers import Provider

_log = logs.logger(__name__)


class ProviderReactions:
    """Takes charges, voids and refunds to the provider. Each may happen twice: keys make it count once."""

    def __init__(
        self, *, database: Database, cashier: Cashier, providers: Providers, clock: Clock
    ) -> None:
        self._database = database
        self._cashier = cashier
        self._providers = providers
        self._clock = clock

    @reacts_to(PaymentRequested, in_transaction=False)
    def on_requested(self, event: PaymentRequested) -> None:
        """Have the money taken, unless the payment has ended in the meantime."""
        payment = self._payment(event.payment_id)
        if payment.status is Status.PENDING:
            outcome = self._charge(payment)
            if outcome is not None:
                self._hear(payment, outcome)

    @reacts_to(PaymentVoided, in_transaction=False)
    def on_voided(self, event: PaymentVoided) -> None:
        """Have no money taken, should the provider have been asked already."""
        payment = self._payment(event.payment_id)
        self._providers.named(payment.provider).void(payment)

    @reacts_to(PaymentRefunded, in_transaction=False)
    def on_refunded(self, event: PaymentRefunded) -> None:
        """Have the money given back."""
        payment = self._payment(event.payment_id)
        amount, key = wire.received_refund(event)
        self._providers.named(payment.provider).refund(payment, amount, key=key)

    def _charge(self, payment: Payment) -> Outcome | None:
        """Ask the payment's provider; while one is down, the next. Raises ProviderDown when all are."""
        route = self._providers.route(payment.payment_id, payment.payment_method)
        candidates = [self._providers.named(payment.provider)]
        candidates += [provider for provider in route if provider.name != payment.provider]
        reasons: list[str] = []
        for provider in candidates:
            if provider.name != payment.provider:
                if not self._reroute(payment, provider):
                    return None  # it has ended, or somebody else is asking
                payment = self._payment(payment.payment_id)
            try:
                return provider.charge(payment)
            except ProviderDown as down:
                reasons.append(str(down))
                _log.warning(
                    "a payment provider took no charge",
                    provider=provider.name,
                    payment_id=payment.payment_id,
                    why=str(down),
                )
        raise ProviderDown("; ".join(reasons))

    def _reroute(self, payment: Payment, provider: Provider) -> bool:
        """Note the other provider before it is asked: its webhook may come before its answer."""
        with self._database.unit_of_work() as session:
            return store.reroute(session, payment, provider.name, now=self._clock.now())

    def _hear(self, payment: Payment, outcome: Outcome) -> None:
        with self._database.unit_of_work() as session:
            locked = store.lock(session, payment.payment_id)
            if locked is not None:
                self._cashier.hear(session, locked, answer(locked, outcome))

    def _payment(self, payment_id: str) -> Payment:
        with self._database.reading() as session:
            payment = store.find(session, payment_id)
        if payment is None:
            raise LookupError(f"payment {payment_id} was told of, but does not exist")
        return payment
