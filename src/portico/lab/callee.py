"""The process that is called in ``portico.lab.outage``: well, or standing in for itself while it is away.

Both count the attempts that reach them, and how many of those were repeats by gRPC's own account
(``grpc-previous-rpc-attempts``).
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import grpc

from portico.lab.hopping import serving
from portico.lab.subject import Hop
from portico.telemetry import logs

if TYPE_CHECKING:
    from portico.lab.v1 import hop_pb2

_REPEATED = "grpc-previous-rpc-attempts"


class Callee(Hop):
    """Answers, or says UNAVAILABLE; counts the attempts."""

    def __init__(self, *, well: bool) -> None:
        self._well = well
        self.attempts = 0
        self.repeats = 0

    def Hop(  # noqa: N802  # the contract's name
        self, request: hop_pb2.HopRequest, context: grpc.ServicerContext
    ) -> hop_pb2.HopResponse:
        """The request's content, if all is well."""
        self.attempts += 1
        self.repeats += any(key == _REPEATED for key, _ in context.invocation_metadata())
        if not self._well:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return super().Hop(request, context)


def serve(kind: str, port: str) -> None:
    """The child: say where it listens, tell its counts when asked, end with its stdin."""
    logs.configure(level="error")
    callee = Callee(well=kind == "well")
    server = serving(callee, port=int(port))
    print(json.dumps(server.port), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"attempts": callee.attempts, "repeats": callee.repeats}), flush=True)
    server.stop(0)


if __name__ == "__main__":
    serve(*sys.argv[1:])
