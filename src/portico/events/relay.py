"""The relay: takes committed events out of the outboxes and hands them to whoever reacts."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from portico.context import entered, root
from portico.data.session import Use
from portico.data.transaction import Transaction
from portico.events.delivery import Delivery
from portico.events.outbox import Outbox, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection

    from portico.clock import Clock
    from portico.data import Database
    from portico.events.doorbell import Doorbell
    from portico.events.reactions import Reaction
    from portico.telemetry.otel.tracer import Tracer

_log = logging.getLogger(__name__)

_WINDOW = 1000  # a look at so many costs a millisecond; all are looked at when none of these is due


@dataclass(frozen=True, kw_only=True)
class RelaySettings:
    """How a relay works; the defaults suit a server."""

    poll_seconds: float = 1.0
    """How often it looks by itself: for retries that are due, and for what other processes published."""
    batch_seconds: float = 1.0
    """After so long a batch ends with the event at hand; the rest of it is for anyone to take."""
    aggregates_per_batch: int = 100
    events_per_aggregate: int = 100
    reaction_timeout_seconds: float = 10.0
    max_attempts: int = 12
    """Then an event is dead: kept, logged, and passed over. With the delays below after about half an hour."""
    first_delay_seconds: float = 1.0
    longest_delay_seconds: float = 300.0


class Relay:
    """Delivers the events of some outboxes to reactions in this process.

    Any number of relays may work on the same outboxes, here and in other processes. Each event
    reaches each reaction exactly once in effect, and those of one aggregate in their order.
    """

    def __init__(
        self,
        outboxes: Iterable[Database],
        reactions: Iterable[Reaction],
        *,
        clock: Clock,
        doorbell: Doorbell,
        settings: RelaySettings | None = None,
        random: Random | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """``outboxes`` are the databases of the modules that publish. Nothing runs before :meth:`start`.

        Two reactions of one module with the same name are a ValueError.
        """
        self._outboxes = {
            database.schema: (database, Outbox(database.schema)) for database in outboxes
        }
        self._clock = clock
        self._doorbell = doorbell
        self._settings = settings or RelaySettings()
        self._delivery = Delivery(
            reactions,
            clock=clock,
            timeout_seconds=self._settings.reaction_timeout_seconds,
            tracer=tracer,
        )
        self._random = random or Random()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.delivered = 0
        """Events that reached everyone, since the start."""
        self.failed = 0
        """Deliveries that are to be tried again."""
        self.dead = 0
        """Events that were given up."""

    def start(self) -> None:
        """Deliver in a thread of its own, from now until :meth:`stop`."""
        self._thread = threading.Thread(target=self._run, name="portico-relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the reaction that runs and stop; what is left stays in the outboxes."""
        self._stopping.set()
        self._doorbell.ring("")
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._stopping.clear()

    @property
    def is_running(self) -> bool:
        """Whether it delivers by itself at the moment."""
        return self._thread is not None

    def settle(self, *, timeout_seconds: float = 10.0) -> None:
        """Return when no event is due any more; helps with the delivery, whether started or not.

        For tests and command lines. An event whose retry lies in the future is not due. TimeoutError
        when it takes longer.
        """
        until = time.monotonic() + timeout_seconds
        while self._deliver_some() or self._is_any_deliverable():
            if time.monotonic() > until:
                raise TimeoutError(f"there are still events to deliver after {timeout_seconds:g} s")

    def lag_seconds(self) -> float:
        """Age of the oldest event that has not reached everyone, 0 when all have; asks the database."""
        oldest: list[datetime] = []
        with entered(root()):
            for database, outbox in self._outboxes.values():
                with database.reading() as session:
                    at = outbox.oldest_pending_at(session)
                if at is not None:
                    oldest.append(at)
        return max((self._clock.now() - min(oldest)).total_seconds(), 0.0) if oldest else 0.0

    def _deliver_some(self) -> bool:
        return sum(self._deliver_batch(*outbox) for outbox in self._outboxes.values()) > 0

    def _is_any_deliverable(self) -> bool:
        """After a look that found nothing: what is due is another relay's then, for a moment."""
        found = any(self._is_deliverable(schema) for schema in self._outboxes)
        if found:
            time.sleep(0.005)
        return found

    def _run(self) -> None:
        while not self._stopping.is_set():
            rung = self._doorbell.wait(self._settings.poll_seconds)
            for schema in list(self._outboxes):
                if rung and schema not in rung:
                    continue
                try:
                    if rung or self._is_deliverable(schema):
                        self._drain(schema)
                except Exception:  # noqa: BLE001  # whatever it is: say so and go on
                    _log.exception(
                        "the relay could not deliver the events of %s; it tries again", schema
                    )
                    self._stopping.wait(self._settings.poll_seconds)

    def _is_deliverable(self, schema: str) -> bool:
        database, outbox = self._outboxes[schema]
        # In a call of its own: it must not see what a transaction around it has not committed.
        with entered(root()), database.reading() as session:
            return outbox.is_deliverable(session, now=self._clock.now())

    def _drain(self, schema: str) -> None:
        """Deliver batch after batch until none is left that is due."""
        while not self._stopping.is_set() and self._deliver_batch(*self._outboxes[schema]):
            pass

    def _deliver_batch(self, database: Database, outbox: Outbox) -> int:
        """Claim, deliver, mark. The claim is a transaction of its own, which no reaction joins.

        When this process dies in between, the claim ends with its connection and another relay
        delivers again; the inboxes know what was done already.
        """
        claim = Transaction(
            database.engine, Use(database.schema, read_only=False, deadline=None), outer=None
        )
        try:
            batch = self._claim(outbox, claim.connection, _WINDOW) or self._claim(
                outbox, claim.connection, None
            )
            if batch:
                claim.session.send("SET LOCAL idle_in_transaction_session_timeout = 0")
                self._deliver(batch, outbox, claim.connection)
        except BaseException:
            claim.rollback()
            raise
        claim.commit()
        return len(batch)

    def _claim(self, outbox: Outbox, session: Connection, window: int | None) -> list[Record]:
        return outbox.claim(
            session,
            now=self._clock.now(),
            window=window,
            aggregates=self._settings.aggregates_per_batch,
            run=self._settings.events_per_aggregate,
        )

    def _deliver(self, batch: Sequence[Record], outbox: Outbox, session: Connection) -> None:
        until = time.monotonic() + self._settings.batch_seconds
        held: set[str] = set()  # the aggregates whose later events must wait
        delivered: list[UUID] = []
        for record in batch:
            if self._waits(record):
                held.add(record.aggregate_id)
            if record.aggregate_id in held:
                continue
            failure = self._delivery.deliver(record)
            self._doorbell.following.dealt_with(record.headers["request_id"], record.id)
            if failure is None:
                delivered.append(record.id)
            else:
                held.add(record.aggregate_id)
                self._mark_failed(record, failure, outbox, session)
            if self._stopping.is_set() or time.monotonic() > until:
                break
        if delivered:
            outbox.mark_delivered(session, delivered, at=self._clock.now())
            self.delivered += len(delivered)

    def _waits(self, record: Record) -> bool:
        """Whether it failed before and is not due: then it is behind one that committed later than it."""
        return record.next_attempt_at is not None and record.next_attempt_at > self._clock.now()

    def _mark_failed(
        self, record: Record, failure: str, outbox: Outbox, session: Connection
    ) -> None:
        now, attempts = self._clock.now(), record.attempts + 1
        if attempts >= self._settings.max_attempts:
            _log.error(
                "%s %s is given up after %d attempts: %s", record.type, record.id, attempts, failure
            )
            outbox.mark_failed(session, record.id, error=failure, retry_at=None, dead_at=now)
            self.dead += 1
        else:
            retry_at = now + timedelta(seconds=self._delay_seconds(attempts))
            outbox.mark_failed(session, record.id, error=failure, retry_at=retry_at, dead_at=None)
            self.failed += 1

    def _delay_seconds(self, attempts: int) -> float:
        """Twice as long each time, and by chance up to half shorter, so that failures do not march in step."""
        longest = self._settings.first_delay_seconds * 2.0 ** (attempts - 1)
        return min(longest, self._settings.longest_delay_seconds) * self._random.uniform(0.5, 1.0)
