"""One process: a relay over the modules that it has, and the settings that all of them share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from google.protobuf.wrappers_pb2 import StringValue

from portico.clock import SystemClock
from portico.data import Database, Engine
from portico.events import (
    Doorbell,
    Elsewhere,
    Intercom,
    Neighbour,
    Relay,
    RelaySettings,
    reactions_of,
)
from portico.events.streams import Streams
from portico.lab.outbox.tables import RECEIVER, SENDER
from portico.rpc.peer import Peer
from portico.security.seals import Seals
from portico.telemetry import logs
from portico.v1.events_service_pb2_grpc import EventsServiceStub

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from portico.events import Reaction
    from portico.events.reception import Reception

_SETTINGS = RelaySettings(max_attempts=1000)
_CONSUMERS = "consumers"  # one process of the topology, with several workers
_SECRET = b"all processes of the laboratory share it"


class Node:
    """Has ``database``, the sender's, and ``doorbell``; a context is not needed, a process ends with it."""

    def __init__(self, url: str, *, redis: str = "") -> None:
        """On the Postgres at ``url``; events go by the ``redis`` at that URL, or by calls without one."""
        logs.configure(level="error")
        self.engine = Engine(url, pool_size=16, lock_timeout_seconds=30)
        self.database = Database(self.engine, schema=SENDER)
        self.doorbell = Doorbell()
        self.doorbell.intercom = Intercom(self.engine, bell=self.doorbell, schemas=[SENDER])
        clock = SystemClock()
        seals = Seals(_SECRET, clock=clock)
        self._streams = (
            Streams(redis, application="lab", seals=seals, clock=clock) if redis else None
        )

    def relay(self, consumers: Sequence[str]) -> Relay:
        """Takes the sender's events to the consumers: by Redis, or to these addresses in turn."""
        peer = Peer(",".join(consumers), services=["portico.v1.EventsService"])
        stub = EventsServiceStub(peer.channel(caller=SENDER))
        neighbour = Neighbour(
            _CONSUMERS,
            stub,
            reacts={RECEIVER: {StringValue.DESCRIPTOR.full_name}},
            carrier=None if self._streams is None else self._streams.carrier(_CONSUMERS),
        )
        return self._relay([self.database], [], Elsewhere([neighbour], process="relay"))

    def consumer(self, reactions: object) -> Relay:
        """Delivers nothing by itself; its servicer runs the receiver's ``reactions``."""
        receiver = Database(self.engine, schema=RECEIVER)
        return self._relay([], reactions_of(reactions, database=receiver), None)

    @contextmanager
    def reading(self, reception: Reception) -> Iterator[None]:
        """A block in which events come from Redis as well, if there is one."""
        if self._streams is None:
            yield
            return
        reader = self._streams.reader(_CONSUMERS, reception)
        reader.start()
        try:
            yield
        finally:
            reader.stop()

    def _relay(
        self, outboxes: list[Database], reactions: Iterable[Reaction], elsewhere: Elsewhere | None
    ) -> Relay:
        return Relay(
            outboxes,
            reactions,
            clock=SystemClock(),
            doorbell=self.doorbell,
            elsewhere=elsewhere,
            settings=_SETTINGS,
        )
