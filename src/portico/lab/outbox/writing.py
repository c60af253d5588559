"""The process that publishes: eight writers who commit late, or one who keeps a rate."""

from __future__ import annotations

import json
import sys
import threading
import time
from random import Random

from google.protobuf.wrappers_pb2 import StringValue

from portico.clock import SystemClock
from portico.context import entered, root
from portico.events import Events
from portico.ids import Ids
from portico.lab.outbox.node import Node
from portico.lab.outbox.tables import AGGREGATES, SENDER

WRITERS = 8

_MOST_AT_ONCE = 9  # events of one transaction
_LATE = 0.1  # of the transactions wait before they commit, up to so many seconds:
_LATE_SECONDS = 0.05
_LAST = 0.005  # and these, whose numbers are among the first by far when they commit:
_LAST_SECONDS = 1.0
_NUMBER = """
UPDATE sender.aggregates SET last = last + %(count)s WHERE name = %(name)s RETURNING last - %(count)s
"""


class Writer:
    """Publishes events of aggregates that it shares with all other writers."""

    def __init__(self, node: Node, *, seed: int) -> None:
        clock = SystemClock()
        self._database = node.database
        self._events = Events(
            node.database, clock=clock, ids=Ids(clock=clock), doorbell=node.doorbell
        )
        self._random = Random(seed)

    def publish(self, count: int, *, delay_seconds: float = 0.0) -> None:
        """So many events of one aggregate, in one transaction that goes on for so long after it took their numbers."""
        name = f"a{self._random.randint(1, AGGREGATES)}"
        with entered(root(module=SENDER)), self._database.unit_of_work() as session:
            row = {"count": count, "name": name}
            before = session.exec_driver_sql(_NUMBER, row).scalar_one()
            for number in range(before + 1, before + count + 1):
                at_ms = SystemClock().now().timestamp() * 1000
                message = StringValue(value=f"{name}:{number}:{at_ms}")
                self._events.publish(session, message, aggregate_id=name)
            if delay_seconds:
                time.sleep(delay_seconds)

    def publish_late(self, events: int) -> None:
        """So many in all, a few at a time, some of them committed much later than others that began later."""
        left = events
        while left:
            count = min(left, self._random.randint(1, _MOST_AT_ONCE))
            self.publish(count, delay_seconds=self._delay())
            left -= count

    def publish_at(self, rate: float, seconds: float) -> None:
        """One at a time, each at its moment, whatever became of those before."""
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            left = began + number / rate - time.monotonic()
            if left > 0:
                time.sleep(left)
            self.publish(1)

    def _delay(self) -> float:
        chance = self._random.random()
        if chance < _LAST:
            return _LAST_SECONDS
        return self._random.uniform(0, _LATE_SECONDS) if chance < _LATE else 0.0


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
