"""Another process of the topology, seen from one that publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.events.carrier import CallCarrier

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from portico.events.carrier import Carrier
    from portico.v1.events_service_pb2_grpc import EventsServiceStub


class Neighbour:
    """Another process of the topology, and what its modules react to."""

    def __init__(
        self,
        process: str,
        stub: EventsServiceStub,
        *,
        reacts: Mapping[str, Collection[str]],
        carrier: Carrier | None = None,
    ) -> None:
        """``reacts`` has the types of events, by module, that modules of ``process`` react to.

        Events go there by ``carrier``; without one, by calls of ``stub``.
        """
        self.process = process
        self.stub = stub
        self.carrier = carrier or CallCarrier(stub)
        self.reacts = {module: frozenset(types) for module, types in reacts.items()}
