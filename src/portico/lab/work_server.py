"""A server whose calls cost a known amount, in a process of its own.

Each call waits ``WAIT_SECONDS``, as on a database, and computes for ``COMPUTE_SECONDS``.
"""

from __future__ import annotations

import json
import math
import sys
import time
from typing import TYPE_CHECKING, Any

from portico.lab import machine
from portico.lab.server_process import THREADS
from portico.lab.subject import MODULE, Hop, everything_on
from portico.lab.v1 import hop_pb2, hop_pb2_grpc
from portico.resilience.admission import Admission
from portico.rpc.registry import Registry
from portico.rpc.server import Server
from portico.telemetry import logs

if TYPE_CHECKING:
    import grpc

WAIT_SECONDS = 0.005
COMPUTE_SECONDS = 0.0003


class Work(Hop):
    """Works before it gives back what it was given."""

    def Hop(  # noqa: N802  # the contract's name
        self, request: hop_pb2.HopRequest, context: grpc.ServicerContext
    ) -> hop_pb2.HopResponse:
        """The request's content, after the work."""
        time.sleep(WAIT_SECONDS)
        until = time.thread_time() + COMPUTE_SECONDS
        while time.thread_time() < until:
            pass
        return super().Hop(request, context)


RULES: dict[str, Admission | None] = {
    "by wait": None,
    "by number": Admission(most_waiting=1000, patience_seconds=math.inf),
}
"""When the server refuses calls; None is the kernel's own rule."""


def serve(rule: str) -> None:
    """The child: say where it listens, tell its memory when asked on stdin, end with it."""
    logs.configure(level="error")
    machine.keep_on_processor(0)
    policy, authorization = everything_on()
    registry = Registry()
    add: Any = hop_pb2_grpc.add_HopServiceServicer_to_server
    add(Work(), registry.registrar(MODULE))
    server = Server(threads=THREADS, admission=RULES[rule])
    server.bind()
    server.mount(registry, policy)
    server.start()
    print(json.dumps({"address": server.address, "authorization": authorization}), flush=True)
    for _ in sys.stdin:
        print(machine.resident_bytes(), flush=True)
    server.stop(0)


if __name__ == "__main__":
    serve(sys.argv[1])
