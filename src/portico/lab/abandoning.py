"""The process that begins workflow runs and is killed before any of them ends: for ``portico.lab.recovery``."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING

from portico.clock import SystemClock
from portico.context import entered, root
from portico.ids import Ids
from portico.lab.subject import USER
from portico.lab.travel.running import running, workflows_of
from portico.lab.travel.site import TOPOLOGY
from portico.lab.travel.trips import BOOK_TRIP, LEGS, NAME, VERSION, Booking
from portico.workflow import Workflows

if TYPE_CHECKING:
    from portico.program import Program
    from portico.workflow import Step

PLACES = (f"before {LEGS[0]}", *(f"after {leg}" for leg in LEGS))

_AT_ONCE = 8


class Abandoning:
    """Runs that come to a place each and stay there until the process ends."""

    def __init__(self, program: Program, *, count: int) -> None:
        own = workflows_of(program, NAME)
        defined = own.plans[BOOK_TRIP, VERSION].workflow
        steps = [self._guarded(step) for step in defined.steps]
        # The same database and log, and the same steps but for the stops in them.
        self._workflows = Workflows(
            module=NAME, database=own.desk.database, is_local=program.placement.is_here
        )
        self._workflow = self._workflows.define(replace(defined, steps=steps), state=Booking)
        ids = Ids(clock=SystemClock())
        self._places = {ids.new("trip"): place for place in islice(cycle(PLACES), count)}
        # Of every other four the log tells how far they were, because they note something.
        noting = cycle([False] * len(PLACES) + [True] * len(PLACES))
        self._bookings = [
            Booking(trip_id, keep_codes=keep)
            for trip_id, keep in zip(self._places, noting, strict=False)
        ]
        self._moving = threading.Semaphore(_AT_ONCE)
        self._arrived = threading.Semaphore(0)
        self._end = threading.Event()  # never comes

    def bring_to_their_places(self) -> dict[str, int]:
        """Begin the runs; answers when all have come to their places, with how many are at each."""
        for booking in self._bookings:
            self._moving.acquire()
            threading.Thread(target=self._begin, args=(booking,), daemon=True).start()
        for _ in self._bookings:
            self._arrived.acquire()
        return dict(Counter(self._places.values()))

    def _begin(self, booking: Booking) -> None:
        with entered(root(module=NAME, identity=USER)):
            self._workflows.run(self._workflow, booking, key=booking.trip_id)

    def _guarded(self, step: Step[Booking]) -> Step[Booking]:
        if step.name not in LEGS:
            return step
        return replace(step, action=partial(self._go, step))

    def _go(self, step: Step[Booking], state: Booking) -> None:
        place = self._places[state.trip_id]
        if place == f"before {step.name}":
            self._stay()
        step.action(state)
        if place == f"after {step.name}":
            self._stay()

    def _stay(self) -> None:
        self._moving.release()
        self._arrived.release()
        self._end.wait()


def serve(count: str) -> None:
    """The child: say where its runs stand, and wait to be killed."""
    with running(topology=TOPOLOGY, process=NAME, deliver=False) as program:
        abandoning = Abandoning(program, count=int(count))
        print(json.dumps(abandoning.bring_to_their_places()), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
