"""Another process of the topology, seen from one that publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from portico.v1.events_service_pb2_grpc import EventsServiceStub


class Neighbour:
    """Another process of the topology, and what its modules react to."""

    def __init__(
        self, process: str, stub: EventsServiceStub, *, reacts: Mapping[str, Collection[str]]
    ) -> None:
        """``reacts`` has the types of events, by module, that modules of ``process`` react to."""
        self.process = process
        self.stub = stub
        self.reacts = {module: frozenset(types) for module, types in reacts.items()}
