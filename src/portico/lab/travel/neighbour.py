"""The process of the module that is called: it serves, and tells the processor time it has taken."""

from __future__ import annotations

import json
import sys
import time

from portico.lab.travel.reservations import NAME
from portico.lab.travel.running import running
from portico.lab.travel.site import TOPOLOGY


def serve() -> None:
    """The child: say that it serves, tell its processor time when asked, end with its stdin."""
    with running(topology=TOPOLOGY, process=NAME, serve=True):
        print(json.dumps("ready"), flush=True)
        for _ in sys.stdin:
            print(time.process_time(), flush=True)


if __name__ == "__main__":
    serve()
