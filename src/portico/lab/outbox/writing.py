"""The process that publishes: eight writers who commit late, or one who keeps a rate."""

from __future__ import annotations

import json
import sys
import threading
import time
from random import Random
from typing import TYPE_CHECKING, Any

from google.protobuf.wrappers_pb2 import StringValue

from portico.clock import SystemClock
from portico.context import entered, root
from portico.events import Events
from portico.ids import Ids
from portico.lab.outbox.node import Node
from portico.lab.outbox.tables import AGGREGATES, SENDER

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    Facts = dict[str, Any]
    Linger = Callable[[Connection, Facts], None]

WRITERS = 8

_MOST_AT_ONCE = 9  # events of one transaction
_LATE = 0.1  # of the transactions wait before they commit, up to so many seconds:
_LATE_SECONDS = 0.05
_LAST = 0.005  # and these until a relay is past their numbers, looking so often, so many times:
_LAST_SECONDS = 1.0
_LOOKS = 20
_NUMBER = """
UPDATE sender.aggregates SET last = last + %(count)s WHERE name = %(name)s RETURNING last - %(count)s
"""
# Events with later numbers that relays have dealt with: one that remembers how far it got would be past ours.
_OVERTAKEN_BY = """
SELECT count(*) FROM sender.outbox
WHERE delivered_at IS NOT NULL AND sequence > (
    SELECT max(sequence) FROM sender.outbox WHERE aggregateid = %(name)s AND delivered_at IS NULL)
"""
_NOTE = """
INSERT INTO sender.latecomers (aggregate, first, last, overtaken_by)
VALUES (%(name)s, %(first)s, %(last)s, %(overtaken_by)s)
"""


def _commit_at_once(_session: Connection, _facts: Facts) -> None:
    pass


def _commit_last(session: Connection, facts: Facts) -> None:
    """Wait until others have overtaken this transaction, and note by how many events."""
    overtaken_by = 0
    for _ in range(_LOOKS):
        time.sleep(_LAST_SECONDS)
        overtaken_by = session.exec_driver_sql(_OVERTAKEN_BY, facts).scalar_one()
        if overtaken_by:
            break
    session.exec_driver_sql(_NOTE, {**facts, "overtaken_by": overtaken_by})


class Writer:
    """Publishes events of aggregates that it shares with all other writers."""

    def __init__(self, node: Node, *, seed: int) -> None:
        clock = SystemClock()
        self._database = node.database
        self._events = Events(
            node.database, clock=clock, ids=Ids(clock=clock), doorbell=node.doorbell
        )
        self._random = Random(seed)

    def publish(self, count: int, *, linger: Linger = _commit_at_once) -> None:
        """So many events of one aggregate, in one transaction that may ``linger`` when it has their numbers."""
        name = f"a{self._random.randint(1, AGGREGATES)}"
        with entered(root(module=SENDER)), self._database.unit_of_work() as session:
            row = {"count": count, "name": name}
            before = session.exec_driver_sql(_NUMBER, row).scalar_one()
            for number in range(before + 1, before + count + 1):
                at_ms = SystemClock().now().timestamp() * 1000
                message = StringValue(value=f"{name}:{number}:{at_ms}")
                self._events.publish(session, message, aggregate_id=name)
            linger(session, {"name": name, "first": before + 1, "last": before + count})

    def publish_late(self, events: int) -> None:
        """So many in all, a few at a time, some of them committed much later than others that began later."""
        left = events
        while left:
            count = min(left, self._random.randint(1, _MOST_AT_ONCE))
            self.publish(count, linger=self._linger())
            left -= count

    def publish_at(self, rate: float, seconds: float) -> None:
        """One at a time, each at its moment, whatever became of those before."""
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            left = began + number / rate - time.monotonic()
            if left > 0:
                time.sleep(left)
            self.publish(1)

    def _linger(self) -> Linger:
        chance = self._random.random()
        if chance < _LAST:
            return _commit_last
        seconds = self._random.uniform(0, _LATE_SECONDS) if chance < _LATE else 0.0
        return lambda _session, _facts: time.sleep(seconds)


def serve(url: str, work: str, amount: str, seconds: str) -> None:
    """The child: publish, say how long that took, end with stdin."""
    node = Node(url)
    if node.doorbell.intercom is not None:
        node.doorbell.intercom.start()
    writers = [Writer(node, seed=seed) for seed in range(WRITERS)]
    began = time.monotonic()

    def write(writer: Writer) -> None:
        if work == "late":
            writer.publish_late(int(amount) // WRITERS)
        else:
            writer.publish_at(float(amount) / WRITERS, float(seconds))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    print(json.dumps("writes"), flush=True)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(time.monotonic() - began), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(*sys.argv[1:])
