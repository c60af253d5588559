"""The reactions of this process, for the relays of other processes."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING

from portico.events.crew import lines_of
from portico.events.wire import record_of
from portico.v1 import events_service_pb2 as pb
from portico.v1.events_service_pb2_grpc import EventsServiceServicer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import grpc

    from portico.events.crew import Crew
    from portico.events.delivery import Delivery
    from portico.events.following import Following
    from portico.events.outbox import Record
    from portico.events.provenance import Provenance

_State = pb.DeliverResponse.State
_Outcome = pb.DeliverResponse.Outcome

_LEASE_SECONDS = 5.0  # a call that waits for reactions does so for this long at the most
_MARGIN = 0.1  # of the time of a call, kept back for its answer
_LONGEST_MARGIN_SECONDS = 0.5


class EventsServicer(EventsServiceServicer):
    """Reacts to events that other processes send. See the contract, ``portico.v1.EventsService``."""

    def __init__(
        self,
        delivery: Delivery,
        *,
        crew: Crew,
        following: Following,
        provenance: Provenance | None = None,
        batch_seconds: float = 1.0,
        most_waiting: int = 4,
    ) -> None:
        """No other event is begun after ``batch_seconds``. So many calls of ``Follow`` may wait at a time.

        ``provenance`` says who may send which events; without it everybody whose call comes through.
        """
        self._delivery = delivery
        self._crew = crew
        self._following = following
        self._provenance = provenance
        self._batch_seconds = batch_seconds
        self._waiting = threading.BoundedSemaphore(most_waiting)
        self._busy: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()

    def Deliver(  # noqa: N802  # the contract's name
        self, request: pb.DeliverRequest, context: grpc.ServicerContext
    ) -> pb.DeliverResponse:
        """Run the reactions, several at a time, while there is time."""
        until, no_more_after = _limits(context, self._batch_seconds)
        records = [record_of(event) for event in request.events]
        self._check(records, context)
        places = {id(record): place for place, record in enumerate(records)}
        response = pb.DeliverResponse(outcomes=[_Outcome(state=_State.NOT_TRIED) for _ in records])

        def react(record: Record) -> bool:
            place = places[id(record)]
            is_late = place and time.monotonic() > no_more_after
            if is_late or not context.is_active():
                return False
            outcome = self._deliver(record, until, follow=request.events[place].follow)
            response.outcomes[place].CopyFrom(outcome)
            return outcome.state == _State.DONE

        self._crew.run(lines_of(records), react)
        return response

    def Follow(  # noqa: N802  # the contract's name
        self, request: pb.FollowRequest, context: grpc.ServicerContext
    ) -> pb.FollowResponse:
        """Wait for what is under way, unless too many do already."""
        if not self._waiting.acquire(blocking=False):
            return pb.FollowResponse(settled=False)
        try:
            until, _ = _limits(context, self._batch_seconds)
            left = min(until - time.monotonic(), _LEASE_SECONDS)
            with self._following.request(request.request_id) as wait:
                settled = wait(left, waiting=request.waiting)
            if settled:
                self._following.end_lease(request.request_id)
            return pb.FollowResponse(settled=settled)
        finally:
            self._waiting.release()

    def _check(self, records: Sequence[Record], context: grpc.ServicerContext) -> None:
        if self._provenance is not None:
            for record in records:
                self._provenance.check(record, context)

    def _deliver(self, record: Record, until: float, *, follow: bool) -> pb.DeliverResponse.Outcome:
        if not self._delivery.reacts(record.module, record.type):
            return _Outcome(state=_State.NOT_HERE)
        with self._alone(record.line) as is_alone:
            if not is_alone:
                return _Outcome(state=_State.BUSY)
            request_id = record.headers["request_id"]
            if follow:
                self._following.lease(request_id, _LEASE_SECONDS)
            setback = self._delivery.deliver(record, until=until)
            goes_on = follow and self._following.goes_on(request_id)
            if follow and not goes_on:
                self._following.end_lease(request_id)
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


def _limits(context: grpc.ServicerContext, batch_seconds: float) -> tuple[float, float]:
    """Until when a reaction may run, so that the answer still arrives; and when no other is begun."""
    now = time.monotonic()
    left = context.time_remaining()
    if left is None:
        return inf, now + batch_seconds
    until = now + left - min(left * _MARGIN, _LONGEST_MARGIN_SECONDS)
    return until, min(now + batch_seconds, until)
