"""What may happen to a payment, each within the caller's unit of work: the change, its postings and its event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emporium.payments import model, store, wire
from emporium.payments.ledger import Entry
from emporium.payments.model import Outcome, Status, Verdict
from portico.clock import Clock
from portico.events import Events
from portico.telemetry import logs

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from sqlalchemy import Connection

    from emporium.payments.model import News, Payment, Refund

_log = logs.logger(__name__)


class Cashier:
    """Opens, ends, gives up and gives back."""

    def __init__(self, *, events: Events, clock: Clock) -> None:
        self._events = events
        self._clock = clock

    def charge(self, session: Connection, wanted: Payment) -> Payment:
        """Open the payment, or answer the one that the same request has opened.

        Raises REQUEST_ID_REUSED, PAYMENT_EXISTS or PAYMENT_VOIDED.
        """
        if not store.open_payment(session, wanted, Entry.CHARGED):
            return model.opened_before(wanted, store.rivals(session, wanted))
        self._publish(session, wanted, wire.requested(wanted))
        return wanted

    def void(self, session: Connection, payment_id: str) -> None:
        """See to it that no money is taken under this id, now or later. Raises PAYMENT_NOT_VOIDABLE."""
        now = self._clock.now()
        while (payment := store.lock(session, payment_id)) is None:
            if store.give_up_beforehand(session, payment_id, now=now):
                return  # otherwise it was opened at this moment, and stays
        model.check_voidable(payment)
        if payment.status is Status.PENDING:
            voided = payment.moved(Status.VOIDED, at=now)
            store.save(session, voided, Entry.VOIDED, voided.amount.minor)
            self._publish(session, voided, wire.voided(voided))

    def refund(self, session: Connection, refund: Refund) -> Payment:
        """Give back some or all of a payment, once for one request. Answers the payment afterwards.

        Raises PAYMENT_NOT_FOUND, PAYMENT_NOT_REFUNDABLE, REFUND_TOO_LARGE or REQUEST_ID_REUSED.
        """
        payment = store.lock(session, refund.payment_id)
        earlier = store.find_refund(session, refund.request_id)
        if earlier is not None:
            model.check_same_refund(earlier, refund)
        if payment is None or model.is_blank(payment):
            raise model.not_found(refund.payment_id)
        if earlier is not None:
            return payment
        model.check_refundable(payment, refund)
        if not store.add_refund(session, refund, now=self._clock.now()):
            raise model.request_id_reused(refund.request_id)  # at this moment, for another payment
        refunded = payment.with_refund(refund.amount.minor, at=self._clock.now())
        store.save(session, refunded, Entry.REFUNDED, refund.amount.minor)
        self._publish(session, refunded, wire.refunded(refunded, refund.amount))
        return refunded

    def hear(self, session: Connection, payment: Payment, news: News) -> tuple[Payment, Verdict]:
        """Take in what a provider says about a locked payment. Answers the payment afterwards.

        What cannot be believed is recorded for a person and told to others, once.
        """
        verdict = model.judge(payment, news)
        if verdict is Verdict.BELIEVED:
            payment = self._end(session, payment, news.outcome)
        elif verdict is not Verdict.KNOWN:
            self._record(session, payment, news, verdict)
        return payment, verdict

    def _end(self, session: Connection, payment: Payment, outcome: Outcome) -> Payment:
        ended = model.ended(payment, outcome, at=self._clock.now())
        if outcome is Outcome.SUCCESS:
            store.save(session, ended, Entry.SUCCEEDED, ended.amount.minor)
            self._publish(session, ended, wire.succeeded(ended))
        else:
            store.save(session, ended, Entry.FAILED, ended.amount.minor)
            self._publish(session, ended, wire.failed(ended))
        return ended

    def _record(self, session: Connection, payment: Payment, news: News, verdict: Verdict) -> None:
        now = self._clock.now()
        if not store.add_discrepancy(session, payment, news, verdict, now=now):
            return
        tell = wire.mismatched if verdict is Verdict.MISMATCHED else wire.contradicted
        self._publish(session, payment, tell(payment, news, at=now))
        _log.error(
            "a provider said what cannot be; a person has to look",
            payment_id=payment.payment_id,
            status=payment.status,
            outcome=news.outcome,
            why=verdict.value,
        )

    def _publish(self, session: Connection, payment: Payment, event: Message) -> None:
        self._events.publish(session, event, aggregate_id=payment.payment_id)
