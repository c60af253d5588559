"""The neighbour: a place on a leg of a trip, kept once whatever comes twice or late."""

from __future__ import annotations

import grpc

from portico import errors
from portico.data import Database
from portico.lab.v1 import travel_pb2 as messages
from portico.lab.v1.travel_pb2_grpc import (
    ReservationsServiceServicer,
    add_ReservationsServiceServicer_to_server,
)
from portico.module import Module

NAME = "reservations"

# ``asked`` counts the commands that came, ``made`` how often one was new: more than once would be an
# effect too many.
TABLES = (
    """
CREATE TABLE reservations.reservations (
    trip_id    text NOT NULL,
    leg        text NOT NULL,
    request_id text NOT NULL,
    released   boolean NOT NULL DEFAULT false,
    asked      integer NOT NULL DEFAULT 1,
    made       integer NOT NULL DEFAULT 1,
    CONSTRAINT reservations_pkey PRIMARY KEY (trip_id, leg)
)""",
)

_RESERVE = """
INSERT INTO reservations.reservations AS kept (trip_id, leg, request_id)
VALUES (%(trip_id)s, %(leg)s, %(request_id)s)
ON CONFLICT (trip_id, leg) DO UPDATE
SET asked = kept.asked + 1, made = kept.made + (kept.request_id <> EXCLUDED.request_id)::integer
RETURNING released
"""
_RELEASE = """
INSERT INTO reservations.reservations (trip_id, leg, request_id, released, made)
VALUES (%(trip_id)s, %(leg)s, '', true, 0)
ON CONFLICT (trip_id, leg) DO UPDATE SET released = true
"""


class ReservationsService(ReservationsServiceServicer):
    """Keeps places and gives them up."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    def Reserve(
        self, request: messages.ReserveRequest, context: grpc.ServicerContext
    ) -> messages.ReserveResponse:
        row = {
            "trip_id": request.trip_id,
            "leg": request.leg,
            "request_id": request.request_id,
        }
        with self._database.unit_of_work() as session:
            if session.exec_driver_sql(_RESERVE, row).scalar_one():
                raise errors.failed_precondition(
                    "RESERVATION_RELEASED",
                    "this leg was given up",
                    trip_id=request.trip_id,
                    leg=request.leg,
                )
        return messages.ReserveResponse(code=f"{request.leg} of {request.trip_id}")

    def Release(
        self, request: messages.ReleaseRequest, context: grpc.ServicerContext
    ) -> messages.ReleaseResponse:
        row = {"trip_id": request.trip_id, "leg": request.leg}
        with self._database.unit_of_work() as session:
            session.exec_driver_sql(_RELEASE, row)
        return messages.ReleaseResponse()


module = Module(
    name=NAME,
    provides={add_ReservationsServiceServicer_to_server: ReservationsService},
    owns_data=True,
)
