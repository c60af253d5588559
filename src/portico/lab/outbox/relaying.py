"""A process that relays: it has nothing of its own that reacts."""

from __future__ import annotations

import json
import sys

from portico.lab.outbox.node import Node


def serve(url: str, *consumers: str) -> None:
    """The child: relay until stdin ends, or it is killed."""
    relay = Node(url).relay(consumers)
    relay.start()
    print(json.dumps("relays"), flush=True)
    sys.stdin.read()
    relay.stop()


if __name__ == "__main__":
    serve(*sys.argv[1:])
