"""A process that reacts: each event leaves a row, with the time it took to get there."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from google.protobuf.wrappers_pb2 import StringValue

from portico.clock import SystemClock
from portico.events import EventsServicer, reacts_to
from portico.lab.outbox.node import Node
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.server import Server
from portico.v1.events_service_pb2_grpc import add_EventsServiceServicer_to_server

if TYPE_CHECKING:
    from sqlalchemy import Connection

_CALL_SECONDS = 30.0
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.1


class Effects:
    """The receiver's only reaction."""

    @reacts_to(StringValue)
    def on_event(self, event: StringValue, session: Connection) -> None:
        """Write the effect down; nothing in the table would refuse it a second time."""
        aggregate, number, sent = event.value.split(":")
        row = {"aggregate": aggregate, "number": int(number), "waited": _now_ms() - float(sent)}
        session.exec_driver_sql(
            "INSERT INTO receiver.effects (aggregate, number, waited_ms) "
            "VALUES (%(aggregate)s, %(number)s, %(waited)s)",
            row,
        )


def _now_ms() -> float:
    return SystemClock().now().timestamp() * 1000


def serve(url: str, redis: str, port: str) -> None:
    """The child: react until stdin ends, or it is killed; calls are answered, and ``redis`` is read if there is one."""
    node = Node(url, redis=redis)
    reception = node.consumer(Effects()).reception()
    registry = Registry()
    add: Any = add_EventsServiceServicer_to_server  # typed for grpcio's own server
    add(EventsServicer(reception), registry.registrar("portico"))
    server = Server(port=int(port))
    _bind(server)
    server.mount(registry, Policy(default_timeout_seconds=_CALL_SECONDS), caller="sender")
    server.start()
    with node.reading(reception):
        print(json.dumps(server.address), flush=True)
        sys.stdin.read()
    server.stop(1)


def _bind(server: Server) -> None:
    """Take the port that it had before it was killed; for a moment somebody's connection may come from there."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            server.bind()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


if __name__ == "__main__":
    serve(*sys.argv[1:])
