"""The reactions of this process, for the relays of other processes that call it."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from portico.events.reception import LEASE_SECONDS, patience
from portico.rpc.hops import certifies
from portico.v1 import events_service_pb2 as pb
from portico.v1.events_service_pb2_grpc import EventsServiceServicer

if TYPE_CHECKING:
    import grpc

    from portico.events.reception import Reception


class EventsServicer(EventsServiceServicer):
    """Reacts to events that other processes send. See the contract, ``portico.v1.EventsService``."""

    def __init__(self, reception: Reception, *, most_waiting: int = 4) -> None:
        """So many calls of ``Follow`` may wait at a time."""
        self._reception = reception
        self._following = reception.following
        self._waiting = threading.BoundedSemaphore(most_waiting)

    def Deliver(  # noqa: N802  # the contract's name
        self, request: pb.DeliverRequest, context: grpc.ServicerContext
    ) -> pb.DeliverResponse:
        """Run the reactions, several at a time, while there is time."""
        return self._reception.take(
            request,
            certified=partial(certifies, context),
            seconds=context.time_remaining(),
            is_wanted=context.is_active,
        )

    def Follow(  # noqa: N802  # the contract's name
        self, request: pb.FollowRequest, context: grpc.ServicerContext
    ) -> pb.FollowResponse:
        """Wait for what is under way, unless too many do already."""
        if not self._waiting.acquire(blocking=False):
            return pb.FollowResponse(settled=False)
        try:
            left = min(patience(context.time_remaining()) - time.monotonic(), LEASE_SECONDS)
            with self._following.request(request.request_id) as wait:
                settled = wait(left, waiting=request.waiting)
            if settled:
                self._following.end_lease(request.request_id)
            return pb.FollowResponse(settled=settled)
        finally:
            self._waiting.release()
