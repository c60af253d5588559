"""Where the events of other processes come in, whatever brings them: their reactions are run here."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING

from portico.events.crew import lines_of
from portico.events.wire import record_of
from portico.v1 import events_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from portico.events.crew import Crew
    from portico.events.delivery import Delivery
    from portico.events.following import Following
    from portico.events.outbox import Record
    from portico.events.provenance import Certified, Provenance

_State = pb.DeliverResponse.State
_Outcome = pb.DeliverResponse.Outcome

LEASE_SECONDS = 5.0
"""How long somebody can come and wait for what a followed event has set off."""

_MARGIN = 0.1  # of the sender's patience, kept back for the answer
_LONGEST_MARGIN_SECONDS = 0.5


def patience(seconds: float | None) -> float:
    """Until when work may go on for one who gives up after ``seconds``, so that the answer still arrives.

    On the monotonic clock; None is for ever.
    """
    if seconds is None:
        return inf
    return time.monotonic() + seconds - min(seconds * _MARGIN, _LONGEST_MARGIN_SECONDS)


class Reception:
    """Runs the reactions of this process to events from others, several at a time."""

    def __init__(
        self,
        delivery: Delivery,
        *,
        crew: Crew,
        following: Following,
        provenance: Provenance | None = None,
        batch_seconds: float = 1.0,
    ) -> None:
        """No other event is begun after ``batch_seconds``.

        ``provenance`` says who may send which events; without it everybody whose message comes through.
        """
        self._delivery = delivery
        self._crew = crew
        self.following = following
        """What is known of requests that somebody follows."""
        self._provenance = provenance
        self._batch_seconds = batch_seconds
        self._busy: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()

    def take(
        self,
        request: pb.DeliverRequest,
        *,
        certified: Certified,
        seconds: float | None,
        is_wanted: Callable[[], bool],
    ) -> pb.DeliverResponse:
        """Run the reactions, while there is time and ``is_wanted`` says so.

        The sender waits for ``seconds``, and is ``certified`` as some modules. Raises PERMISSION_DENIED
        with EVENT_OF_ANOTHER when an event is not its to send.
        """
        until = patience(seconds)
        no_more_after = min(time.monotonic() + self._batch_seconds, until)
        records = [record_of(event) for event in request.events]
        self._check(records, certified)
        places = {id(record): place for place, record in enumerate(records)}
        response = pb.DeliverResponse(outcomes=[_Outcome(state=_State.NOT_TRIED) for _ in records])

        def react(record: Record) -> bool:
            place = places[id(record)]
            is_late = place and time.monotonic() > no_more_after
            if is_late or not is_wanted():
                return False
            outcome = self._deliver(record, until, follow=request.events[place].follow)
            response.outcomes[place].CopyFrom(outcome)
            return outcome.state == _State.DONE

        self._crew.run(lines_of(records), react)
        return response

    def _check(self, records: Sequence[Record], certified: Certified) -> None:
        if self._provenance is not None:
            for record in records:
                self._provenance.check(record, certified)

    def _deliver(self, record: Record, until: float, *, follow: bool) -> pb.DeliverResponse.Outcome:
        if not self._delivery.reacts(record.module, record.type):
            return _Outcome(state=_State.NOT_HERE)
        with self._alone(record.line) as is_alone:
            if not is_alone:
                return _Outcome(state=_State.BUSY)
            request_id = record.headers["request_id"]
            if follow:
                self.following.lease(request_id, LEASE_SECONDS)
            setback = self._delivery.deliver(record, until=until)
            goes_on = follow and self.following.goes_on(request_id)
            if follow and not goes_on:
                self.following.end_lease(request_id)
            if setback is not None:
                state = _State.BUSY if setback.is_under_way else _State.FAILED
                return _Outcome(state=state, error=setback.words)
            return _Outcome(state=_State.DONE, goes_on=goes_on)

    @contextmanager
    def _alone(self, line: tuple[str, ...]) -> Iterator[bool]:
        """Whether nobody else here reacts to an event of this line: a sender that has given up sends again.

        Another worker does not know. There the inbox makes a reaction in a transaction wait, and a lock
        in the database turns away one that runs outside.
        """
        with self._lock:
            is_alone = line not in self._busy
            self._busy.add(line)
        try:
            yield is_alone
        finally:
            if is_alone:
                with self._lock:
                    self._busy.discard(line)
