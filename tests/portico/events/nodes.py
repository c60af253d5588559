"""Processes in miniature: each has modules of its own, a relay, and a server on a real socket."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import grpc
import sqlalchemy as sa
from google.protobuf.wrappers_pb2 import StringValue
from portico.v1.events_service_pb2_grpc import (
    EventsServiceStub,
    add_EventsServiceServicer_to_server,
)
from redis.exceptions import RedisError
from sqlalchemy import text

from portico.clock import SystemClock
from portico.context import current
from portico.data import Database
from portico.events import (
    Doorbell,
    Elsewhere,
    Events,
    EventsServicer,
    Neighbour,
    Reaction,
    Relay,
    RelaySettings,
    reactions_of,
    reacts_to,
)
from portico.events.streams import Streams
from portico.ids import Ids
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.remote import RemoteChannel
from portico.rpc.server import Server
from portico.security.seals import Seals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from portico.clock import Clock
    from portico.context import Call
    from portico.data import Engine
    from portico.events.reception import Reception
    from portico.events.streams import StreamReader

SILENT_SECONDS = 0.4
"""After so long a dead reader's work is another's, where a test waits for that; elsewhere longer: machines stall."""

_RECONNECT = (("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50))


class Ledger:
    """Writes down what reaches it, and fails when it is told to."""

    def __init__(self, schema: str, *, fails: Callable[[str], bool] = lambda _: False) -> None:
        names = ("sequence", "aggregate", "event")
        self._table = sa.table("effects", *(sa.column(name) for name in names), schema=schema)
        self.fails = fails
        self.calls: list[Call] = []

    @reacts_to(StringValue)
    def on_text(self, event: StringValue, session: Connection) -> None:
        self.calls.append(current())
        aggregate = event.value.partition(":")[0]
        session.execute(self._table.insert(), {"aggregate": aggregate, "event": event.value})
        if self.fails(event.value):
            raise RuntimeError(f"no {event.value}")


class Node:
    """One process. ``module`` publishes and, with a class of reactions, reacts.

    Events come to it over ``streams`` if there are any, else by calls.
    """

    def __init__(
        self,
        module: str,
        engine: Engine,
        reactions: object | None = None,
        *,
        clock: Clock,
        streams: Streams | None = None,
    ) -> None:
        self.module = module
        self.streams = streams
        self.reader: StreamReader | None = None
        self.database = Database(engine, schema=module)
        self.doorbell = Doorbell()
        self.events = Events(
            self.database, clock=clock, ids=Ids(clock=clock), doorbell=self.doorbell
        )
        self.reactions: tuple[Reaction, ...] = (
            () if reactions is None else reactions_of(reactions, database=self.database)
        )
        self._clock = clock
        self._server = Server()
        self._server.bind()
        self.channel = RemoteChannel(grpc.insecure_channel(self.address, options=_RECONNECT))
        self.stub = EventsServiceStub(self.channel)
        self.relay: Relay
        self.servicer: EventsServicer

    @property
    def address(self) -> str:
        return self._server.address

    def neighbour(self) -> Neighbour:
        types = {each.event.DESCRIPTOR.full_name for each in self.reactions}
        carrier = None if self.streams is None else self.streams.carrier(self.module)
        return Neighbour(self.module, self.stub, reacts={self.module: types}, carrier=carrier)

    def join(self, *others: Node, **settings: Any) -> Self:
        """Make the relay, which knows the reactions of the others, and what takes their events in."""
        self.relay = self.new_relay(*others, **settings)
        self.receive(self.relay.reception())
        return self

    def receive(self, reception: Reception) -> None:
        """What comes goes there, once this serves."""
        self.reception = reception
        self.servicer = EventsServicer(reception)

    def new_relay(self, *others: Node, **settings: Any) -> Relay:
        return Relay(
            [self.database],
            self.reactions,
            clock=self._clock,
            doorbell=self.doorbell,
            elsewhere=Elsewhere((each.neighbour() for each in others), process=self.module),
            settings=RelaySettings(**{"reactions_at_once": 1, **settings}),
            random=Random(1),
        )

    def serve(self) -> None:
        registry = Registry()
        add: Any = add_EventsServiceServicer_to_server  # typed for grpcio's own server
        add(self.servicer, registry.registrar("portico"))
        self._server.mount(registry, Policy(default_timeout_seconds=10), caller="other")
        self._server.start()
        self.read()

    def read(self, *, threads: int = 2, silent_seconds: float = 3.0) -> None:
        """Have a reader of the stream, if there is one and nobody reads it here; returns when it reads."""
        if self.streams is not None and self.reader is None:
            self.reader = self.streams.reader(
                self.module, self.reception, threads=threads, silent_seconds=silent_seconds
            )
            self.reader._wait_ms = 20  # so that a stop is quick
            self.reader.start()
            until = time.monotonic() + 10
            while not is_read(self.streams, self.module) and time.monotonic() < until:
                time.sleep(0.002)

    def vanish(self) -> None:
        """As a process that was killed a while ago, but for the reaction that runs: it is waited for."""
        self._server.stop(0)
        reader, self.reader = self.reader, None
        if reader is not None and self.streams is not None:
            reader.stop()
            with suppress(RedisError):
                self.streams._redis.delete(self.streams._box(self.module).present)

    def come_back(self) -> None:
        """On the same port."""
        self._server = Server(port=self._server.port)
        self._server.bind()
        self.serve()

    def publish(self, *values: str) -> None:
        for value in values:
            with self.database.unit_of_work() as session:
                message = StringValue(value=value)
                self.events.publish(session, message, aggregate_id=value.partition(":")[0])

    def effects(self) -> list[str]:
        return self.rows("SELECT event FROM {}.effects ORDER BY sequence")

    def rows(self, query: str) -> list[Any]:
        with self.database.reading() as session:
            return list(session.execute(text(query.format(self.module))).scalars())

    def close(self) -> None:
        self.channel.close()
        self.vanish()


@contextmanager
def serving(*nodes: Node) -> Iterator[None]:
    with ExitStack() as stack:
        for node in nodes:
            stack.callback(node.close)
            node.serve()
        yield
    until = time.monotonic() + 10
    while any(node.database.engine.in_use for node in nodes) and time.monotonic() < until:
        time.sleep(0.01)  # a reaction may still run for somebody who has gone


@contextmanager
def delivering(*relays: Relay) -> Iterator[None]:
    with ExitStack() as stack:
        for relay in relays:
            relay.start()
            stack.callback(relay.stop)
        yield


SECRET = b"known to all processes of this test"


def is_read(streams: Streams, module: str) -> bool:
    """Whether somebody reads what comes for the process of ``module``."""
    box = streams._box(module)
    return bool(streams._redis.exists(box.stream, box.present) == 2)


@contextmanager
def streaming(url: str, *, secret: bytes = SECRET, application: str = "") -> Iterator[Streams]:
    """The streams of an application, by default of one that nobody else has."""
    clock = SystemClock()
    name = application or uuid4().hex
    streams = Streams(url, application=name, seals=Seals(secret, clock=clock), clock=clock)
    try:
        yield streams
    finally:
        streams.close()
