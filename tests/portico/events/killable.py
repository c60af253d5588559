"""A process that reads the bank's stream, and is at the first event until somebody kills it."""

from __future__ import annotations

import sys
import time

from sqlalchemy import make_url

from portico.clock import SystemClock
from portico.data import Engine
from tests.portico.events.nodes import Ledger, Node, streaming


def _never_ends(event: str) -> bool:
    print(f"reacting to {event}", flush=True)  # noqa: T201  # whoever started it waits for that
    time.sleep(60)
    return True


def main(database_url: str, redis_url: str, application: str) -> None:
    with streaming(redis_url, application=application) as streams:
        engine = Engine(make_url(database_url), pool_size=5)
        ledger = Ledger("bank", fails=_never_ends)
        Node("bank", engine, ledger, clock=SystemClock(), streams=streams).join().read()
        time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
