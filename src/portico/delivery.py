"""Events between the processes of a topology: who elsewhere reacts to what, and who may send events here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portico.events import Elsewhere, Neighbour
from portico.events.provenance import Provenance
from portico.placement import KERNEL
from portico.v1.events_service_pb2_grpc import (
    EventsServiceStub,
    add_EventsServiceServicer_to_server,
)

if TYPE_CHECKING:
    from portico.events import Relay
    from portico.hops import Neighbours
    from portico.placement import Placement
    from portico.rpc.registry import Registry


def elsewhere(placement: Placement, neighbours: Neighbours) -> Elsewhere:
    """The modules in other processes that react to anything, each behind a stub."""
    # Any module of this process: events are the kernel's business, and each tells whose it is.
    caller = placement.here[0].name
    return Elsewhere(
        (
            Neighbour(
                process.name,
                EventsServiceStub(neighbours.channel(process.name, caller=caller)),
                reacts=reacts,
            )
            for process in placement.elsewhere()
            if (reacts := placement.reactions_of(process))
        ),
        process=placement.process.name,
    )


def take_events(
    registry: Registry, relay: Relay, placement: Placement, *, require_certificate: bool
) -> None:
    """Serve the relays of other processes: have the reactions of this one run.

    With ``require_certificate`` whoever sends an event must be certified as the module that published it.
    """
    provenance = Provenance(placement.packages(), require_certificate=require_certificate)
    registrar: Any = registry.registrar(KERNEL)
    add_EventsServiceServicer_to_server(relay.servicer(provenance=provenance), registrar)
