"""What takes events to another process and brings the answer back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import grpc

from portico.context import entered, root
from portico.errors import StatusError
from portico.events.receiver import UnreachableError

if TYPE_CHECKING:
    from portico.v1 import events_service_pb2 as pb
    from portico.v1.events_service_pb2_grpc import EventsServiceStub

REFUSAL = "EVENT_OF_ANOTHER"  # the contract's


class Carrier(Protocol):
    """The way to one process, for one lane."""

    def carry(self, request: pb.DeliverRequest, *, seconds: float) -> pb.DeliverResponse:
        """Have the reactions run there, and wait for the answer.

        Raises StatusError with EVENT_OF_ANOTHER when it refuses them, and UnreachableError when there
        is no answer within ``seconds``, which says nothing about what was done.
        """

    def interrupt(self) -> None:
        """Give a running ``carry`` up; what it has done there is found out by the next."""


class CallCarrier:
    """Calls ``Deliver`` of the other process."""

    def __init__(self, stub: EventsServiceStub) -> None:
        """``stub`` has a channel to it."""
        self._stub = stub
        self._call: grpc.Future[pb.DeliverResponse] | None = None

    def carry(self, request: pb.DeliverRequest, *, seconds: float) -> pb.DeliverResponse:
        """See ``Carrier``."""
        try:
            with entered(root()):  # whatever the thread is about: a claim is open, and no call's
                call = self._stub.Deliver.future(request, timeout=seconds)
                self._call = call
                return call.result()
        except grpc.RpcError as error:
            if isinstance(error, StatusError) and error.reason == REFUSAL:
                raise
            raise UnreachableError(f"{error.code().name}: {error.details()}") from error
        except grpc.FutureCancelledError as error:
            raise UnreachableError("the call was given up") from error
        finally:
            self._call = None

    def interrupt(self) -> None:
        """See ``Carrier``."""
        call = self._call
        if call is not None:
            call.cancel()
