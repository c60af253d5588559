"""What may happen to stock, each within the caller's unit of work: the change, its log and its event."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from emporium.inventory import model, store, wire
from emporium.inventory.model import Reservation, Status
from emporium.inventory.settings import InventorySettings
from portico.clock import Clock
from portico.events import Events

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from emporium.inventory.model import Adjustment, Ending, Level, Line
    from emporium.inventory.store import Taken
    from portico.errors import StatusError


class Stockroom:
    """Adjusts, holds, commits and releases."""

    def __init__(self, *, events: Events, clock: Clock, settings: InventorySettings) -> None:
        self._events = events
        self._clock = clock
        self._low = settings.low_stock_pieces

    def adjust(self, session: Connection, adjustment: Adjustment) -> Level:
        """Book a delivery or a loss; a repeat of the request books nothing. Answers the level afterwards.

        Raises STOCK_TOO_LOW, STOCK_TOO_HIGH or REQUEST_ID_REUSED.
        """
        now = self._clock.now()
        found = store.lock_level(session, adjustment.product_id, now=now)
        if not store.log_adjustment(session, adjustment, now=now):
            first = store.logged_adjustment(session, adjustment.request_id)
            model.check_same_adjustment(first, adjustment)
            return found
        level = store.adjust(session, adjustment, now=now)
        if level is None:
            raise model.refused(adjustment, found)
        self._events.publish(
            session, wire.adjusted(adjustment, level), aggregate_id=level.product_id
        )
        self._tell_low(
            session,
            level.product_id,
            before=level.available - adjustment.delta,
            after=level.available,
        )
        return level

    def reserve(
        self,
        session: Connection,
        reservation_id: str,
        lines: tuple[Line, ...],
        *,
        hold_seconds: int,
    ) -> Reservation:
        """Hold the pieces of all lines, or answer the reservation that has this id already.

        Raises INSUFFICIENT_STOCK, RESERVATION_EXISTS or RESERVATION_ENDED; then nothing is held.
        """
        now = self._clock.now()
        wanted = Reservation(
            reservation_id=reservation_id,
            status=Status.HELD,
            lines=lines,
            expires_at=now + timedelta(seconds=hold_seconds),
        )
        taken = store.hold(session, wanted, now=now)
        if taken.held:
            event = wire.reserved(wanted, at=now)
            self._events.publish(session, event, aggregate_id=reservation_id)
            self._tell_taken(session, taken)
            return wanted
        found = store.find(session, reservation_id)
        if found is None:
            raise _short(taken)
        model.check_same_lines(found, lines)
        return found

    def commit(self, session: Connection, reservation_id: str) -> Reservation:
        """Take the pieces out of the stock for good; once expired, only if they are still there.

        Raises RESERVATION_NOT_FOUND, RESERVATION_ENDED or INSUFFICIENT_STOCK.
        """
        found = store.lock(session, reservation_id)
        if found is None:
            raise model.unknown_reservation(reservation_id)
        if found.status is Status.RELEASED:
            raise model.ended(found)
        if found.status is Status.COMMITTED:
            return found
        if found.status is Status.EXPIRED:
            self._hold_again(session, found)
        committed = self._end(session, found, model.COMMIT)
        event = wire.committed(committed, at=self._clock.now())
        self._events.publish(session, event, aggregate_id=reservation_id)
        return committed

    def release(self, session: Connection, reservation_id: str) -> None:
        """See to it that nothing is kept under this id, now or later."""
        now = self._clock.now()
        while (found := store.lock(session, reservation_id)) is None:
            if store.give_up_beforehand(session, reservation_id, now=now):
                return  # otherwise it was made at this moment, and stays
        ending = model.releasing(found)
        if ending is not None:
            self._give_back(session, found, ending)

    def plan_end(self, session: Connection, reservation_id: str, *, at: datetime) -> None:
        """Have the hold looked at when its time is over."""
        self._events.publish(
            session, wire.due(reservation_id, at=at), aggregate_id=reservation_id, at=at
        )

    def expire(self, session: Connection, reservation_id: str) -> None:
        """Set the pieces of a hold free whose time is over, unless they were taken or given up before."""
        found = store.lock(session, reservation_id)
        if found is None or found.status is not Status.HELD:
            return
        if found.expires_at > self._clock.now():  # by another machine's clock
            self.plan_end(session, reservation_id, at=found.expires_at)
        else:
            self._give_back(session, found, model.EXPIRE)

    def report_lapsed(self, session: Connection, reservation_id: str) -> None:
        """Tell that an expired reservation was paid, but cannot be committed any more."""
        lost = store.find(session, reservation_id)
        if lost is not None:
            event = wire.lapsed(lost, at=self._clock.now())
            self._events.publish(session, event, aggregate_id=reservation_id)

    def _hold_again(self, session: Connection, expired: Reservation) -> None:
        taken = store.hold_again(session, expired, now=self._clock.now())
        if not taken.held:
            raise _short(taken)
        self._tell_taken(session, taken)

    def _give_back(self, session: Connection, found: Reservation, ending: Ending) -> None:
        ended = self._end(session, found, ending)
        event = wire.released(ended, at=self._clock.now())
        self._events.publish(session, event, aggregate_id=found.reservation_id)

    def _end(self, session: Connection, found: Reservation, ending: Ending) -> Reservation:
        store.end(session, found, ending, now=self._clock.now())
        return replace(found, status=ending.status)

    def _tell_taken(self, session: Connection, taken: Taken) -> None:
        for reservation_id in taken.expired:
            expired = store.find(session, reservation_id)
            if expired is not None:
                event = wire.released(expired, at=self._clock.now())
                self._events.publish(session, event, aggregate_id=reservation_id)
        for shelf in taken.shelves:
            self._tell_low(
                session,
                shelf.line.product_id,
                before=shelf.free,
                after=shelf.available - shelf.line.quantity,
            )

    def _tell_low(self, session: Connection, product_id: str, *, before: int, after: int) -> None:
        if model.fell_low(before=before, after=after, threshold=self._low):
            event = wire.low(product_id, available=after, threshold=self._low, at=self._clock.now())
            self._events.publish(session, event, aggregate_id=product_id)


def _short(taken: Taken) -> StatusError:
    first = next(shelf for shelf in taken.shelves if shelf.available < shelf.line.quantity)
    return model.short(first.line, available=first.available)
