"""The orchestrator: opens a trip, reserves its three legs, closes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import grpc

from portico.data import Database
from portico.lab.v1 import travel_pb2 as messages
from portico.lab.v1.travel_pb2_grpc import (
    ReservationsServiceStub,
    TripsServiceServicer,
    add_TripsServiceServicer_to_server,
)
from portico.module import Module
from portico.workflow import Step, Workflow, Workflows, step_key

NAME = "trips"
BOOK_TRIP = "trips.book_trip"
VERSION = 1
LEGS = ("flight", "hotel", "car")

# No key on purpose: an effect that happens twice shall be seen, not refused.
TABLES = (
    "CREATE TABLE trips.diary (trip_id text NOT NULL, what text NOT NULL, codes text[] NOT NULL)",
    "CREATE INDEX diary_trip_id ON trips.diary (trip_id)",
)

_WRITE = "INSERT INTO trips.diary VALUES (%(trip_id)s, %(what)s, %(codes)s)"
_READ = "SELECT codes FROM trips.diary WHERE trip_id = %(trip_id)s AND what = 'closed'"


@dataclass
class Booking:
    """The state of ``trips.book_trip``. Codes are noted when they are to be kept."""

    trip_id: str
    keep_codes: bool = False
    codes: list[str] = field(default_factory=list)


class BookTrip:
    """``trips.book_trip``, with its steps."""

    def __init__(
        self, *, workflows: Workflows, database: Database, reservations: ReservationsServiceStub
    ) -> None:
        self._workflows = workflows
        self._database = database
        self._reservations = reservations
        workflow: Workflow[Booking] = Workflow(
            name=BOOK_TRIP,
            version=VERSION,
            steps=[
                Step("open", partial(self._write, "opened"), undo=partial(self._write, "given up")),
                *(
                    Step(
                        leg,
                        partial(self._reserve, leg),
                        undo=partial(self._release, leg),
                        at=ReservationsServiceStub,
                    )
                    for leg in LEGS
                ),
                Step("close", partial(self._write, "closed")),
            ],
            subject=lambda state: state.trip_id,
        )
        self.workflow = workflows.define(workflow, state=Booking)

    def run(self, state: Booking) -> Booking:
        """Book the trip; its id is the key."""
        return self._workflows.run(self.workflow, state, key=state.trip_id)

    def _write(self, what: str, state: Booking) -> None:
        row = {"trip_id": state.trip_id, "what": what, "codes": state.codes}
        with self._database.unit_of_work() as session:
            session.exec_driver_sql(_WRITE, row)

    def _reserve(self, leg: str, state: Booking) -> None:
        answer = self._reservations.Reserve(
            messages.ReserveRequest(request_id=step_key(), trip_id=state.trip_id, leg=leg)
        )
        if state.keep_codes:
            state.codes.append(answer.code)

    def _release(self, leg: str, state: Booking) -> None:
        self._reservations.Release(messages.ReleaseRequest(trip_id=state.trip_id, leg=leg))


class TripsService(TripsServiceServicer):
    """Books trips."""

    def __init__(
        self, *, workflows: Workflows, database: Database, reservations: ReservationsServiceStub
    ) -> None:
        self._database = database
        self._book_trip = BookTrip(
            workflows=workflows, database=database, reservations=reservations
        )

    def BookTrip(
        self, request: messages.BookTripRequest, context: grpc.ServicerContext
    ) -> messages.BookTripResponse:
        trip_id = request.request_id
        with self._database.reading() as session:
            booked = session.exec_driver_sql(_READ, {"trip_id": trip_id}).scalar()
        if booked is None:
            booked = self._book_trip.run(Booking(trip_id, keep_codes=request.keep_codes)).codes
        return messages.BookTripResponse(trip_id=trip_id, codes=booked)


module = Module(
    name=NAME,
    provides={add_TripsServiceServicer_to_server: TripsService},
    requires=[ReservationsServiceStub],
    owns_data=True,
)
