"""Events between the processes of a topology: who elsewhere reacts to what, and what takes events there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portico.events import Elsewhere, EventsServicer, Neighbour
from portico.events.provenance import Provenance
from portico.placement import KERNEL
from portico.settings import SettingsError
from portico.v1.events_service_pb2_grpc import (
    EventsServiceStub,
    add_EventsServiceServicer_to_server,
)

if TYPE_CHECKING:
    from pydantic import SecretStr

    from portico.clock import Clock
    from portico.events import Relay
    from portico.events.streams import StreamReader, Streams
    from portico.hops import Neighbours
    from portico.placement import Placement
    from portico.rpc.registry import Registry
    from portico.security.seals import Seals
    from portico.settings import Settings


class Deliveries:
    """Takes events to the other processes and has theirs taken in here: by calls, or by Redis Streams.

    Calls are answered in any case: while a topology changes, some may not know of the streams yet.
    """

    def __init__(
        self,
        placement: Placement,
        neighbours: Neighbours,
        settings: Settings,
        *,
        application: str,
        clock: Clock,
    ) -> None:
        """Nothing connects yet. SettingsError when ``redis_url`` is needed and is no address."""
        self._placement = placement
        self._neighbours = neighbours
        self._require_certificate = settings.certificates is not None
        self._streams: Streams | None = None
        if placement.topology.needs_redis and settings.redis_url is not None:
            self._streams = _streams(
                settings.redis_url, application=application, seals=neighbours.seals(), clock=clock
            )
        self._reader: StreamReader | None = None

    def elsewhere(self) -> Elsewhere:
        """The modules in other processes that react to anything, and the way to each."""
        # Any module of this process: events are the kernel's business, and each tells whose it is.
        caller = self._placement.here[0].name
        return Elsewhere(
            (
                Neighbour(
                    process.name,
                    EventsServiceStub(self._neighbours.channel(process.name, caller=caller)),
                    reacts=reacts,
                    carrier=None if self._streams is None else self._streams.carrier(process.name),
                )
                for process in self._placement.elsewhere()
                if (reacts := self._placement.reactions_of(process))
            ),
            process=self._placement.process.name,
        )

    def take(self, relay: Relay, registry: Registry) -> None:
        """Have the reactions of this process run for the others.

        Where certificates are in use, whoever sends an event must be certified as the module that
        published it.
        """
        provenance = Provenance(
            self._placement.packages(), require_certificate=self._require_certificate
        )
        reception = relay.reception(provenance=provenance)
        registrar: Any = registry.registrar(KERNEL)
        add_EventsServiceServicer_to_server(EventsServicer(reception), registrar)
        here = self._placement.process
        if self._streams is not None and self._placement.reactions_of(here):
            self._reader = self._streams.reader(here.name, reception)

    def start(self) -> None:
        """Begin to read what is there for this process."""
        if self._reader is not None:
            self._reader.start()

    def stop(self) -> None:
        """Finish the reactions that run, and read no more."""
        if self._reader is not None:
            self._reader.stop()

    def close(self) -> None:
        """Close the connections to Redis, when the relay has stopped as well."""
        if self._streams is not None:
            self._streams.close()


def _streams(url: SecretStr, *, application: str, seals: Seals, clock: Clock) -> Streams:
    from portico.events.streams import Streams  # an application without them needs no driver

    try:
        return Streams(url.get_secret_value(), application=application, seals=seals, clock=clock)
    except ValueError as failure:
        raise SettingsError(f"redis_url is no address of a Redis: {failure}") from failure
