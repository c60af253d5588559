"""One process of a chain: it calls the next one, and the last of them sleeps.

The last one sleeps as work should: in small pieces, looking between them whether anybody still waits.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from portico.lab.hopping import peer_at, serving, stub_of
from portico.lab.subject import Hop
from portico.resilience.settings import RemoteSettings
from portico.telemetry import logs

if TYPE_CHECKING:
    import grpc

    from portico.lab.v1 import hop_pb2

SETTINGS = RemoteSettings(breaker=False)
"""So many calls that fail would open the circuits, and that is measured elsewhere (``portico.lab.outage``)."""

SLEEP_SECONDS = 5.0
_PIECE_SECONDS = 0.01


class Link(Hop):
    """Counts the calls it works on, and those it has had."""

    def __init__(self, onward: Any) -> None:
        self._onward = onward
        self.working = 0
        self.seen = 0

    def Hop(  # noqa: N802  # the contract's name
        self, request: hop_pb2.HopRequest, context: grpc.ServicerContext
    ) -> hop_pb2.HopResponse:
        """What the next one answers; from the last one, the request's content after a long sleep."""
        self.seen += 1
        self.working += 1
        try:
            if self._onward is not None:
                response: hop_pb2.HopResponse = self._onward.Hop(request)
                return response
            until = time.monotonic() + SLEEP_SECONDS
            while context.is_active() and time.monotonic() < until:
                time.sleep(_PIECE_SECONDS)
            return super().Hop(request, context)
        finally:
            self.working -= 1


def serve(onward: str) -> None:
    """The child: say where it listens, tell what it works on when asked, end with its stdin."""
    logs.configure(level="error")
    link = Link(stub_of(peer_at(onward, settings=SETTINGS)) if onward else None)
    server = serving(link)
    print(json.dumps(server.address), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"working": link.working, "seen": link.seen}), flush=True)
    server.stop(0)


if __name__ == "__main__":
    serve(sys.argv[1] if len(sys.argv) > 1 else "")
