"""What orders does when a payment has ended, or a hold has run out."""

from __future__ import annotations

from datetime import datetime

from commerce.inventory.v1.events_pb2 import ReservationLapsed, StockReleased
from commerce.orders.v1.events_pb2 import OrderRefundDue
from commerce.payments.v1.events_pb2 import PaymentFailed, PaymentSucceeded
from sqlalchemy import Connection

from emporium.orders import model, store, wire
from emporium.orders.model import CancelReason, Order, Status
from emporium.orders.workflows import Cancelling, CancelOrder, Refunding, RefundOrder
from portico.clock import Clock
from portico.errors import StatusError
from portico.events import Events, reacts_to
from portico.telemetry import logs

_log = logs.logger("emporium.orders")


class PaymentReactions:
    """An order follows its payment: each event moves it once, or finds that it has moved on."""

    def __init__(self, *, events: Events, clock: Clock) -> None:
        self._events = events
        self._clock = clock

    @reacts_to(PaymentSucceeded)
    def on_payment_succeeded(self, event: PaymentSucceeded, session: Connection) -> None:
        """CREATED becomes PAID. A cancelled order stays so, and its money is asked back."""
        order = self._lock(session, event.order_id)
        if order.status is Status.CREATED:
            paid = order.paid(at=self._now())
            store.save(session, paid)
            self._events.publish(session, wire.order_paid(paid), aggregate_id=order.order_id)
        elif order.status is Status.CANCELLED:
            due = wire.refund_due(order, event.amount, at=self._now())
            self._events.publish(session, due, aggregate_id=order.order_id)
            _log.warning(
                "paid after cancellation", order_id=order.order_id, payment_id=event.payment_id
            )

    @reacts_to(PaymentFailed)
    def on_payment_failed(self, event: PaymentFailed, session: Connection) -> None:
        """CREATED becomes CANCELLED; inventory sets the stock free when it hears of that."""
        order = self._lock(session, event.order_id)
        if order.status is Status.CREATED:
            ended = order.cancelled(CancelReason.PAYMENT_FAILED, at=self._now())
            store.save(session, ended)
            cancelled = wire.order_cancelled(ended, was_paid=False)
            self._events.publish(session, cancelled, aggregate_id=order.order_id)

    def _lock(self, session: Connection, order_id: str) -> Order:
        order = store.lock(session, order_id)
        if (
            order is None
        ):  # not to be passed over: the event comes again, and in the end a person looks
            raise model.order_not_found(order_id)
        return order

    def _now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)


class FollowUps:
    """What has to be asked of other modules afterwards, and so outside any transaction."""

    def __init__(self, *, cancel: CancelOrder, refund: RefundOrder, clock: Clock) -> None:
        self._cancel = cancel
        self._refund = refund
        self._clock = clock

    @reacts_to(StockReleased, in_transaction=False)
    def on_stock_released(self, event: StockReleased) -> None:
        """The time of the hold ran out: an order that is still unpaid ends, and its payment with it."""
        if event.cause == StockReleased.EXPIRED:
            self._lapse(event.reservation_id, only_unpaid=True)

    @reacts_to(ReservationLapsed, in_transaction=False)
    def on_reservation_lapsed(self, event: ReservationLapsed) -> None:
        """The order was paid too late and its pieces are gone: it ends, and the money goes back."""
        self._lapse(event.reservation_id, only_unpaid=False)

    @reacts_to(OrderRefundDue, in_transaction=False)
    def on_refund_due(self, event: OrderRefundDue) -> None:
        """The money that came too late goes back."""
        self._refund.run(
            Refunding(
                order_id=event.order_id,
                payment_id=event.payment_id,
                amount=wire.minor_of(event.amount),
                currency=event.amount.currency_code,
            )
        )

    def _lapse(self, order_id: str, *, only_unpaid: bool) -> None:
        at = int(self._clock.now().timestamp())
        lapse = Cancelling(order_id, CancelReason.HOLD_EXPIRED.value, at, only_unpaid=only_unpaid)
        try:
            self._cancel.run(lapse)
        except StatusError as refusal:
            if refusal.reason != model.ORDER_NOT_FOUND:  # else the stock was not held for an order
                raise
