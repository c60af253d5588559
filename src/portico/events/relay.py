"""The relay: takes committed events out of the outboxes and hands them to whoever reacts."""

from __future__ import annotations

import time
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from portico.context import entered, root
from portico.events.crew import Crew
from portico.events.delivery import Delivery
from portico.events.desk import Desk
from portico.events.doorbell import Bell
from portico.events.elsewhere import Elsewhere
from portico.events.handing_on import HandingOn
from portico.events.here import Here
from portico.events.housekeeping import Housekeeping
from portico.events.lane import Lane
from portico.events.onward import Onward
from portico.events.outbox import Limits, Outbox
from portico.events.reception import Reception
from portico.events.settings import RelaySettings
from portico.events.there import There
from portico.events.timetable import Timetable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from portico.clock import Clock
    from portico.data import Database
    from portico.events.doorbell import Doorbell
    from portico.events.neighbour import Neighbour
    from portico.events.provenance import Provenance
    from portico.events.reactions import Reaction
    from portico.telemetry.otel.tracer import Tracer

_CALL_MARGIN_SECONDS = 1.0
_EVENTS_OF_ONE = 3  # aggregate, of those that wait together, as a guess


class Relay:
    """Delivers the events of some outboxes to reactions in this process and in others.

    Any number of relays may work on the same outboxes, here and in other processes. Each event
    reaches each reaction exactly once in effect. Those of one aggregate come in their order to all
    reactions in this process, and in their order to each module in another. Every process has a lane
    of its own, so that one which is slow or away holds up nobody else.
    """

    def __init__(
        self,
        outboxes: Iterable[Database],
        reactions: Iterable[Reaction],
        *,
        clock: Clock,
        doorbell: Doorbell,
        elsewhere: Elsewhere | None = None,
        settings: RelaySettings | None = None,
        random: Random | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """``outboxes`` are the databases of the modules that publish. Nothing runs before :meth:`start`.

        ``elsewhere`` are the modules in other processes that react. Two reactions of one module with
        the same name are a ValueError.
        """
        self._databases = {database.schema: database for database in outboxes}
        self._clock = clock
        self._doorbell = doorbell
        self._following = doorbell.following
        self._elsewhere = elsewhere or Elsewhere()
        self._following.ask = self._elsewhere.ask
        self._settings = settings or RelaySettings()
        self._random = random or Random()
        self._delivery = Delivery(
            reactions,
            clock=clock,
            timeout_seconds=self._settings.reaction_timeout_seconds,
            tracer=tracer,
        )
        self.housekeeping = Housekeeping(self._databases.values(), clock=clock)
        self._keep_house_at = clock.now()
        self._timetable = Timetable(self._databases.values(), clock=clock)
        self._crew = Crew(self._settings.reactions_at_once)
        bells = {process: Bell() for process in self._elsewhere.neighbours}
        self._handing_on = HandingOn(
            self._databases.values(), self._elsewhere, following=self._following, bells=bells
        )
        self._here = self._lane_here(doorbell)
        self._there = {
            process: self._lane_to(neighbour, bells[process])
            for process, neighbour in self._elsewhere.neighbours.items()
        }
        self._lanes = [self._here, *self._there.values()]

    @property
    def delivered(self) -> int:
        """Events that reached everyone in this process, since the start."""
        return self._here.delivered

    @property
    def failed(self) -> int:
        """Deliveries that are to be tried again, here and elsewhere."""
        return sum(lane.failed for lane in self._lanes)

    @property
    def dead(self) -> int:
        """Events that were given up, here and for a module elsewhere."""
        return sum(lane.dead for lane in self._lanes)

    @property
    def there(self) -> dict[str, Lane]:
        """The lanes to other processes, by process."""
        return self._there

    def reception(self, *, provenance: Provenance | None = None) -> Reception:
        """Where the events of other processes come in, to have the reactions of this one run.

        ``provenance`` says who may send which events. One for all ways by which they come.
        """
        return Reception(
            self._delivery,
            crew=self._crew,
            following=self._following,
            provenance=provenance,
            batch_seconds=self._settings.batch_seconds,
        )

    def desk(self) -> Desk:
        """For a person who looks after the events of these outboxes."""
        return Desk(
            self._databases.values(),
            self._delivery,
            clock=self._clock,
            notes_kept=timedelta(seconds=self._settings.keep_notes_seconds),
        )

    def start(self) -> None:
        """Deliver in threads of its own, from now until :meth:`stop`."""
        for lane in self._lanes:
            lane.start()
        if self._doorbell.intercom is not None:
            self._doorbell.intercom.start()

    def stop(self) -> None:
        """Finish the reactions that run and stop; what is left stays in the outboxes."""
        if self._doorbell.intercom is not None:
            self._doorbell.intercom.stop()
        for lane in self._lanes:
            lane.ask_to_stop()
        for lane in self._lanes:
            lane.stop()
        self._crew.close()

    @property
    def is_running(self) -> bool:
        """Whether it delivers by itself at the moment."""
        return self._here.is_running

    def settle(self, *, timeout_seconds: float = 10.0) -> None:
        """Return when no event is due any more; helps with the delivery, whether started or not.

        For tests and command lines. An event whose retry lies in the future is not due, nor is one
        for a process that could not be reached. TimeoutError when it takes longer.
        """
        until = time.monotonic() + timeout_seconds
        self._handing_on.take_back()
        while self._timetable.bring_due() or self._deliver_some() or self._is_any_deliverable():
            if time.monotonic() > until:
                raise TimeoutError(f"there are still events to deliver after {timeout_seconds:g} s")

    def lag_seconds(self, schema: str = "") -> float:
        """Age of the oldest event of ``schema``, or of all, that has not reached everyone; 0 when all have.

        Asks the database.
        """
        oldest: list[datetime] = []
        with entered(root()):
            for database in self._databases.values():
                if schema in ("", database.schema):
                    with database.reading() as session:
                        at = Outbox(database.schema).oldest_pending_at(session)
                        further = Onward(database.schema, self._elsewhere.modules).waiting(session)
                    oldest += [each for each in (at, further[1]) if each is not None]
        return max((self._clock.now() - min(oldest)).total_seconds(), 0.0) if oldest else 0.0

    def waiting_for(self, process: str) -> int:
        """How many events are on their way to ``process``, one for each module there; asks the database."""
        modules = self._elsewhere.neighbours[process].reacts
        total = 0
        with entered(root()):
            for database in self._databases.values():
                with database.reading() as session:
                    total += Onward(database.schema, modules).waiting(session)[0]
        return total

    def _lane_here(self, bell: Bell) -> Lane:
        settings = self._settings
        aggregates, run = settings.aggregates_per_batch, settings.events_per_aggregate
        return Lane(
            {schema: (each, Outbox(schema)) for schema, each in self._databases.items()},
            Here(
                self._delivery,
                crew=self._crew,
                following=self._following,
                handing_on=self._handing_on,
                keep_house=self._keep_house,
            ),
            name="portico-relay",
            clock=self._clock,
            bell=bell,
            settings=settings,
            limits=Limits(aggregates, run, aggregates * run),
            random=self._random,
        )

    def _lane_to(self, neighbour: Neighbour, bell: Bell) -> Lane:
        settings = self._settings
        longest = settings.batch_seconds + settings.reaction_timeout_seconds + _CALL_MARGIN_SECONDS
        modules = neighbour.reacts
        most = settings.events_per_call
        # No more than a call has room for: the others are for other relays.
        aggregates = min(settings.aggregates_per_batch, max(most // _EVENTS_OF_ONE, 1))
        return Lane(
            {schema: (each, Onward(schema, modules)) for schema, each in self._databases.items()},
            There(neighbour, following=self._following, timeout_seconds=longest),
            name=f"portico-relay-{neighbour.process}",
            clock=self._clock,
            bell=bell,
            settings=settings,
            limits=Limits(aggregates, settings.events_per_aggregate, most),
            random=self._random,
        )

    def _keep_house(self) -> None:
        """A batch at each look; when there is nothing left to remove, a long rest."""
        self._timetable.bring_due()
        if self._clock.now() >= self._keep_house_at:
            settings = self._settings
            removed = self.housekeeping.purge(
                events_after=timedelta(seconds=settings.keep_events_seconds),
                notes_after=timedelta(seconds=settings.keep_notes_seconds),
            )
            if not any(removed):
                self._keep_house_at = self._clock.now() + timedelta(
                    seconds=settings.housekeeping_seconds
                )

    def _deliver_some(self) -> int:
        return sum(lane.deliver_some() for lane in self._lanes)

    def _is_any_deliverable(self) -> bool:
        """After a look that found nothing: what is due is another relay's then, for a moment."""
        found = any(lane.is_any_deliverable() for lane in self._lanes)
        if found:
            time.sleep(0.005)
        return found
