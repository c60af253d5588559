"""One process: a relay over the modules that it has, and the settings that all of them share."""

from __future__ import annotations

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
from portico.lab.outbox.tables import RECEIVER, SENDER
from portico.rpc.peer import Peer
from portico.telemetry import logs
from portico.v1.events_service_pb2_grpc import EventsServiceStub

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from portico.events import Reaction

_SETTINGS = RelaySettings(max_attempts=1000)


class Node:
    """Has ``database``, the sender's, and ``doorbell``; a context is not needed, a process ends with it."""

    def __init__(self, url: str) -> None:
        logs.configure(level="error")
        self.engine = Engine(url, pool_size=16, lock_timeout_seconds=30)
        self.database = Database(self.engine, schema=SENDER)
        self.doorbell = Doorbell()
        self.doorbell.intercom = Intercom(self.engine, bell=self.doorbell, schemas=[SENDER])

    def relay(self, consumers: Sequence[str]) -> Relay:
        """Takes the sender's events to the consumers at these addresses, in turn."""
        peer = Peer(",".join(consumers), services=["portico.v1.EventsService"])
        stub = EventsServiceStub(peer.channel(caller=SENDER))
        neighbour = Neighbour(
            "consumers", stub, reacts={RECEIVER: {StringValue.DESCRIPTOR.full_name}}
        )
        return self._relay([self.database], [], Elsewhere([neighbour], process="relay"))

    def consumer(self, reactions: object) -> Relay:
        """Delivers nothing by itself; its servicer runs the receiver's ``reactions``."""
        receiver = Database(self.engine, schema=RECEIVER)
        return self._relay([], reactions_of(reactions, database=receiver), None)

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
