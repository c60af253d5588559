"""What inventory does when something has happened to an order, whose id its reservation bears, or to a hold."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from commerce.inventory.v1.events_pb2 import HoldDue, StockReserved
from commerce.orders.v1.events_pb2 import OrderCancelled, OrderPaid

from emporium.inventory.stockroom import Stockroom
from portico.errors import StatusError
from portico.events import reacts_to
from portico.telemetry import logs

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = logs.logger(__name__)


class OrderReactions:
    """Takes paid pieces out of the stock and sets those of cancelled orders free."""

    def __init__(self, *, stockroom: Stockroom) -> None:
        self._stockroom = stockroom

    @reacts_to(OrderPaid)
    def on_paid(self, event: OrderPaid, session: Connection) -> None:
        """Commit. What is not there any more will not be there at the next attempt either: it is told instead."""
        try:
            self._stockroom.commit(session, event.order_id)
        except StatusError as refusal:
            if (
                refusal.reason == "RESERVATION_ENDED"
            ):  # cancelled since, and the stock is free again
                _log.info(
                    "a paid order was cancelled before its stock was committed",
                    order_id=event.order_id,
                )
            elif refusal.reason == "INSUFFICIENT_STOCK":
                _log.error(
                    "a paid order has lost its stock", order_id=event.order_id, **refusal.metadata
                )
                self._stockroom.report_lapsed(session, event.order_id)
            else:
                raise

    @reacts_to(OrderCancelled)
    def on_cancelled(self, event: OrderCancelled, session: Connection) -> None:
        """Release, whatever became of the hold."""
        self._stockroom.release(session, event.order_id)


class HoldReactions:
    """Ends holds by time alone, also when nobody else wants the pieces."""

    def __init__(self, *, stockroom: Stockroom) -> None:
        self._stockroom = stockroom

    @reacts_to(StockReserved)
    def on_reserved(self, event: StockReserved, session: Connection) -> None:
        """Plan the end of the hold; here and not with the reservation, which a buyer waits for."""
        at = event.expires_at.ToDatetime(tzinfo=UTC)
        self._stockroom.plan_end(session, event.reservation_id, at=at)

    @reacts_to(HoldDue)
    def on_due(self, event: HoldDue, session: Connection) -> None:
        """Set free what is still held."""
        self._stockroom.expire(session, event.reservation_id)
