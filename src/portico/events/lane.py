"""A lane: events on their way from some queues to one receiver, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from portico.context import entered, root
from portico.events.backoff import Backoff
from portico.events.claim import claiming, keep_open
from portico.events.receiver import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from random import Random

    from sqlalchemy import Connection

    from portico.clock import Clock
    from portico.data import Database
    from portico.events.doorbell import Bell
    from portico.events.outbox import Limits, Queue, Record
    from portico.events.receiver import Receiver
    from portico.events.settings import RelaySettings
    from portico.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

_WINDOW = 1000  # a look at so many costs a millisecond; all are looked at when none of these is due

_INTERRUPT_SECONDS = 0.1

_SHORT, _LONG = 1, 5  # rests, as after so many failures


class Lane:
    """Delivers what its queues hold, each line of it in order. A slow receiver holds up this lane alone."""

    def __init__(
        self,
        queues: Mapping[str, tuple[Database, Queue]],
        receiver: Receiver,
        *,
        name: str,
        clock: Clock,
        bell: Bell,
        settings: RelaySettings,
        limits: Limits,
        random: Random,
    ) -> None:
        """``queues`` by the schema that ``bell`` is rung for. Nothing runs before :meth:`start`."""
        self._queues = queues
        self._receiver = receiver
        self._name = name
        self._clock = clock
        self._bell = bell
        self._settings = settings
        self._limits = limits
        self._retry = Backoff(settings.first_delay_seconds, settings.longest_delay_seconds, random)
        self._pause = Backoff(settings.first_pause_seconds, settings.longest_pause_seconds, random)
        self._paused_until: datetime | None = None
        self._misses = 0  # in a row
        self._look_at = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.delivered = 0
        """Events that arrived, since the start."""
        self.failed = 0
        """Deliveries that are to be tried again."""
        self.dead = 0
        """Events that were given up."""
        self.unreachable = 0
        """How often the receiver could not be reached."""

    def start(self) -> None:
        """Deliver in a thread of its own, from now until :meth:`stop`."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin nothing new; the thread ends soon."""
        self._stopping.set()
        self._bell.ring("")

    def stop(self) -> None:
        """Finish what runs and stop; what is left stays in the queues."""
        self.ask_to_stop()
        thread, self._thread = self._thread, None
        while thread is not None and thread.is_alive():
            self._receiver.interrupt()
            thread.join(_INTERRUPT_SECONDS)
        self._stopping.clear()

    @property
    def is_running(self) -> bool:
        """Whether it delivers by itself at the moment."""
        return self._thread is not None

    @property
    def is_paused(self) -> bool:
        """Whether it waits because the receiver could not be reached."""
        return self._paused_until is not None and self._clock.now() < self._paused_until

    def deliver_some(self) -> int:
        """One batch of each queue; how many events came a step further."""
        return sum(self._deliver_batch(schema) for schema in self._queues)

    def is_any_deliverable(self) -> bool:
        """Whether any event is due, also one that another relay is delivering at the moment."""
        return not self.is_paused and any(self._is_deliverable(schema) for schema in self._queues)

    def measure(self, metrics: Metrics, *, process: str, waiting: Callable[[], float]) -> None:
        """Publish how the way to another process does, and how many events are ``waiting`` for it."""
        metrics.gauge(
            "portico_events_waiting",
            "Events that a process has yet to get, one for each of its modules.",
            waiting,
            process=process,
        )
        metrics.counter(
            "portico_events_arrived",
            "Events that have reached a module in another process.",
            lambda: self.delivered,
            process=process,
        )
        metrics.counter(
            "portico_events_unreachable",
            "Times that a process could not be reached with events.",
            lambda: self.unreachable,
            process=process,
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            rung = self._bell.wait(self._patience())
            if self.is_paused:
                if rung:
                    self._receiver.missed()
                continue
            looks = time.monotonic() >= self._look_at
            if looks:
                self._look_at = time.monotonic() + self._settings.poll_seconds
                self._try(self._receiver.prepare)
            for schema in list(self._queues):
                if schema in rung:
                    self._try(partial(self._drain, schema))
                elif looks:
                    self._try(partial(self._look, schema))

    def _patience(self) -> float:
        """Seconds to wait for the bell: until the next look, or the end of a pause."""
        if self._paused_until is not None:
            left = (self._paused_until - self._clock.now()).total_seconds()
            if left > 0:
                self._look_at = 0.0  # nothing has been seen of what came in the meantime
                return min(left, self._settings.poll_seconds)
        return max(self._look_at - time.monotonic(), 0.0)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001  # whatever it is: say so and go on
            _log.exception("%s could not deliver; it tries again", self._name)
            self._stopping.wait(self._settings.poll_seconds)

    def _look(self, schema: str) -> None:
        if self._is_deliverable(schema):
            self._drain(schema)

    def _drain(self, schema: str) -> None:
        """Deliver batch after batch until none is left that is due."""
        while not self._stopping.is_set() and self._deliver_batch(schema):
            pass

    def _is_deliverable(self, schema: str) -> bool:
        database, queue = self._queues[schema]
        # In a call of its own: it must not see what a transaction around it has not committed.
        with entered(root()), database.reading() as session:
            return queue.is_deliverable(session, now=self._clock.now())

    def _deliver_batch(self, schema: str) -> int:
        """Claim, deliver, mark."""
        if self.is_paused:
            return 0
        database, queue = self._queues[schema]
        try:
            with claiming(database) as session:
                batch = self._claim(queue, session, _WINDOW) or self._claim(queue, session, None)
                done = self._deliver(batch, queue, session)
        except UnreachableError as failure:
            self._rest(str(failure))
            return 0
        if batch:
            self._arrived()
        return done

    def _claim(self, queue: Queue, session: Connection, window: int | None) -> list[Record]:
        return queue.claim(session, now=self._clock.now(), window=window, limits=self._limits)

    def _deliver(self, batch: Sequence[Record], queue: Queue, session: Connection) -> int:
        """Answers how many events came a step further."""
        if not batch:
            return 0
        keep_open(session)
        until = time.monotonic() + self._settings.batch_seconds

        def proceed() -> bool:
            return not self._stopping.is_set() and time.monotonic() <= until

        arrived: list[Record] = []
        postponed: dict[int, list[Record]] = {_SHORT: [], _LONG: []}
        failed = 0
        for outcome in self._receiver.deliver(self._in_turn(batch), proceed=proceed):
            if outcome.postponed:
                postponed[_SHORT if outcome.failure is None else _LONG].append(outcome.record)
            elif outcome.failure is None:
                arrived.append(outcome.record)
            else:
                failed += 1
                self._mark_failed(outcome.record, outcome.failure, queue, session)
        if arrived:
            queue.mark_delivered(session, arrived, at=self._clock.now())
            self.delivered += len(arrived)
        for length, records in postponed.items():
            if records:
                until_at = self._clock.now() + self._retry.after(length)
                queue.postpone(session, records, until=until_at)
        return len(arrived) + sum(map(len, postponed.values())) + failed

    def _in_turn(self, batch: Sequence[Record]) -> list[Record]:
        """Without those that wait for another try, and what stands behind them.

        Such a one is not the first of its line when that was committed later than it.
        """
        held: set[tuple[str, ...]] = set()
        free = []
        for record in batch:
            if record.next_attempt_at is not None and record.next_attempt_at > self._clock.now():
                held.add(record.line)
            if record.line not in held:
                free.append(record)
        return free

    def _mark_failed(self, record: Record, failure: str, queue: Queue, session: Connection) -> None:
        now, attempts = self._clock.now(), record.attempts + 1
        if attempts >= self._settings.max_attempts:
            _log.error(
                "%s %s is given up after %d attempts: %s", record.type, record.id, attempts, failure
            )
            queue.mark_failed(session, record, error=failure, retry_at=None, dead_at=now)
            self.dead += 1
        else:
            retry_at = now + self._retry.after(attempts)
            queue.mark_failed(session, record, error=failure, retry_at=retry_at, dead_at=None)
            self.failed += 1

    def _rest(self, why: str) -> None:
        """Nobody's attempt: the receiver gets nothing for a while."""
        self.unreachable += 1
        self._misses += 1
        if self._misses == 1 and not self._stopping.is_set():
            _log.warning("%s cannot deliver: %s; the events wait", self._name, why)
        self._paused_until = self._clock.now() + self._pause.after(self._misses)

    def _arrived(self) -> None:
        if self._misses:
            _log.info("%s delivers again", self._name)
        self._misses = 0
        self._paused_until = None
