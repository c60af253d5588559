"""What a person does about events: look at those that have not arrived, have some delivered again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from portico.context import entered, root
from portico.events.ended import Ended, Selection
from portico.events.undelivered import Undelivered, undelivered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    from portico.clock import Clock
    from portico.data import Database
    from portico.events.delivery import Delivery
    from portico.events.outbox import Record

_PAGE = 500


class ReplayError(ValueError):
    """It cannot be done, or would do harm; the message says why."""


class Replayed(NamedTuple):
    """What became of one event that was delivered to one consumer again."""

    record: Record
    failure: str | None
    """In words; None when it has its effect."""


class Desk:
    """Works in the outboxes of some modules; what is to be delivered, the relays deliver."""

    def __init__(
        self,
        outboxes: Iterable[Database],
        delivery: Delivery,
        *,
        clock: Clock,
        notes_kept: timedelta,
    ) -> None:
        """``notes_kept`` is how long inboxes remember an event."""
        self._databases = list(outboxes)
        self._delivery = delivery
        self._clock = clock
        self._notes_kept = notes_kept

    def undelivered(
        self, selection: Selection, *, most: int, dead: bool = False
    ) -> list[Undelivered]:
        """Events that have not reached everybody, by module and age; so many of each module at the most.

        One for each receiver that it has not reached. With ``dead`` only those that were given up.
        """
        found: list[Undelivered] = []
        for database in self._databases:
            with entered(root()), database.reading() as session:
                found += undelivered(session, database.schema, selection, dead=dead, most=most)
        return found

    def revive(self, selection: Selection) -> int:
        """Have dead events delivered again to those who did not get them; how many, one for each receiver.

        They come behind what has overtaken them. ReplayError when one is so old that it may be
        forgotten who got it: that is done consumer by consumer.
        """
        oldest = self._clock.now() - self._notes_kept
        forgotten = selection._replace(until=min(selection.until or oldest, oldest))
        if self.undelivered(forgotten, dead=True, most=1):
            raise ReplayError(
                f"some happened before {oldest:%Y-%m-%d}, and inboxes have forgotten who got them:"
                " name a consumer, or a later time"
            )
        count = 0
        for database in self._databases:
            with entered(root()), database.unit_of_work() as session:
                count += Ended(database.schema).revive(session, selection)
        return count

    def replay(self, selection: Selection, *, consumer: str) -> Iterator[Replayed]:
        """Deliver events that arrived, or were given up, to one consumer alone, also one that had them.

        ``consumer`` is ``module.Class.method``, of a module in this process. Those of an aggregate come
        in order, until one fails: then the others of it are left out. ReplayError when there is no such
        consumer.
        """
        try:
            event_type = self._delivery.reacted_to_by(consumer)
        except KeyError as unknown:
            raise ReplayError(
                f"no consumer {consumer} here, only: {', '.join(self._delivery.consumers)}"
            ) from unknown
        if selection.type not in ("", event_type):
            raise ReplayError(f"{consumer} reacts to {event_type}")
        return self._replay(selection._replace(type=event_type), consumer)

    def _replay(self, selection: Selection, consumer: str) -> Iterator[Replayed]:
        held: set[tuple[str, ...]] = set()
        for record in self._ended(selection):
            if record.line not in held:
                failure = self._delivery.deliver_again(record, consumer)
                if failure is not None:
                    held.add(record.line)
                yield Replayed(record, failure)

    def _ended(self, selection: Selection) -> Iterator[Record]:
        for database in self._databases:
            after = 0
            while True:
                with entered(root()), database.reading() as session:
                    page = Ended(database.schema).page(session, selection, after=after, most=_PAGE)
                for after, record in page:  # noqa: B007  # the last one is where the next page begins
                    yield record
                if len(page) < _PAGE:
                    break
