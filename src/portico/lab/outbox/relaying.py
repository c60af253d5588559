"""A process that relays: it has nothing of its own that reacts."""

from __future__ import annotations

import json
import sys

from portico.lab.outbox.node import Node


def serve(url: str, redis: str, *consumers: str) -> None:
    """The child: relay until stdin ends, or it is killed; by ``redis``, or by calls when that is empty."""
    relay = Node(url, redis=redis).relay(consumers)
    relay.start()
    print(json.dumps("relays"), flush=True)
    sys.stdin.read()
    relay.stop()


if __name__ == "__main__":
    serve(*sys.argv[1:])
