"""Redis is killed, comes back empty, and is flushed under load: events wait, and none is lost or counts twice."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest
from redis import Redis

from portico.data.redis_server import RedisServer
from portico.testing.servers import Databases
from tests.journeys import invariants
from tests.journeys.shopper import Shopper, notification, signature, webhook
from tests.proof.load import Load, Sent, failed, quantile_ms
from tests.proof.parts import running
from tests.proof.placements import topology_file

_PER_SECOND = 7.5
"""Orders, and webhooks that pay for them."""
_BEFORE_SECONDS = 10
_OUTAGE_SECONDS = 30
_AFTER_SECONDS = 10
_FLUSHES = 20
_FLUSH_PAUSE_SECONDS = 0.5
_SETTLING_SECONDS = 60

_WAITING = " UNION ALL ".join(
    f"SELECT occurred_at FROM {schema}.outbox_elsewhere AS onward JOIN {schema}.outbox ON id = event_id"
    " WHERE onward.delivered_at IS NULL"
    for schema in ("inventory", "orders", "payments")
)

# What must have come, once, of each event that goes from process to process; the rows are those of which it has not.
_EFFECTS = {
    "orders has heard of every payment": """
        SELECT id FROM payments.outbox WHERE type = 'commerce.payments.v1.PaymentSucceeded'
        AND id NOT IN (SELECT event_id FROM orders.inbox)
    """,
    "what was paid is PAID, and was announced once": """
        SELECT o.order_id, o.status FROM payments.payments JOIN orders.orders AS o USING (payment_id)
        WHERE payment_id IN (SELECT aggregateid FROM payments.outbox
                             WHERE type = 'commerce.payments.v1.PaymentSucceeded')
        AND NOT (o.status = 'PAID' AND 1 = (
            SELECT count(*) FROM orders.outbox
            WHERE aggregateid = o.order_id AND type = 'commerce.orders.v1.OrderPaid'))
    """,
    "the pieces of a paid order left the stock once": """
        SELECT aggregateid FROM orders.outbox WHERE type = 'commerce.orders.v1.OrderPaid'
        AND 1 <> (SELECT count(*) FROM inventory.movements
                  WHERE reservation_id = aggregateid AND kind = 'COMMITTED')
    """,
}

_PAID = "SELECT order_id FROM orders.orders WHERE status = 'PAID'"


class Backlog(AbstractContextManager["Backlog"]):
    """Counts the events that are on their way to another process, several times a second."""

    def __init__(self, address: str) -> None:
        self.longest = 0
        """The most there were at once."""
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count)

    def drain(self) -> float:
        """Return when all that happened before this call has arrived; the seconds that took."""
        began = time.monotonic()
        with psycopg.connect(self._address, autocommit=True) as outside:
            now = _rows(outside, "SELECT now()")[0][0]
            while _rows(
                outside, f"SELECT FROM ({_WAITING}) AS waiting WHERE occurred_at < %s", now
            ):
                assert time.monotonic() < began + _SETTLING_SECONDS
                time.sleep(0.05)
        return time.monotonic() - began

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _count(self) -> None:
        with psycopg.connect(self._address, autocommit=True) as outside:
            while not self._over.wait(0.2):
                self.longest = max(self.longest, len(_rows(outside, _WAITING)))


class Trade:
    """Customers who order, and a provider who says a moment later that they have paid."""

    def __init__(self, rest: str) -> None:
        self.paid: list[str] = []
        """Orders whose webhook was accepted."""
        self._rest = rest
        self._unpaid: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._shopper = Shopper.log_in(rest, "demo@example.com", "demo-password")

    def place(self) -> str:
        """What went wrong with one more order."""
        answer = self._shopper.place(quantity=1)
        if answer.status != 201:
            return f"{answer.status} {answer.reason}"
        self._unpaid.put(answer.json)
        return ""

    def pay(self) -> str:
        """What went wrong with the webhook for an order."""
        order = self._unpaid.get(timeout=_SETTLING_SECONDS)
        body = notification(order)
        answer = webhook(self._rest, body, signature(body))
        if answer.status != 200:
            return f"{answer.status} {answer.reason}"
        self.paid.append(order["orderId"])
        return ""


def test_events_outlive_a_redis_that_is_killed_and_flushed_under_load(
    databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = databases.new().set(drivername="postgresql").render_as_string(hide_password=False)
    topology = str(topology_file("apart+redis", tmp_path))
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        with running(topology, tmp_path, address, PORTICO_REDIS_URL=redis.url) as parts:
            trade = Trade(parts["edge"].rest)
            with (
                Backlog(address) as backlog,
                Load(trade.place, per_second=_PER_SECOND) as placing,
                Load(trade.pay, per_second=_PER_SECOND) as paying,
            ):
                time.sleep(_BEFORE_SECONDS)
                before, killed = backlog.longest, paying.now
                redis.kill()
                time.sleep(_OUTAGE_SECONDS)
                redis.start()
                back = paying.now
                draining = backlog.drain()
                most = backlog.longest
                time.sleep(_AFTER_SECONDS)
                flushing = paying.now
                _flush(redis.url)
                flushed = paying.now
                drained = backlog.drain()
            with psycopg.connect(address, autocommit=True) as outside:
                invariants.await_rest(outside, patience_seconds=_SETTLING_SECONDS)
                wrong = [law for law, query in _EFFECTS.items() if _rows(outside, query)]
                are_paid = {row[0] for row in _rows(outside, _PAID)}
    finally:
        redis.stop()

    spans = {
        "before": (0.0, killed),
        "without Redis": (killed, back),
        "back": (back, flushing),
        "flushed": (flushing, flushed),
    }
    with capsys.disabled():
        print()
        for what, load in (("orders", placing), ("webhooks", paying)):
            for when, (since, until) in spans.items():
                print(f"{what}, {when}: {_summary(load.sent(since=since, until=until))}")
        print(
            f"backlog: {before} events at most before, {most} without Redis;"
            f" drained {draining:.1f} s after its return, {drained:.1f} s after the last flush"
        )
    assert failed(placing.sent()) == []
    assert failed(paying.sent()) == []
    assert most > _PER_SECOND * _OUTAGE_SECONDS / 2  # events did wait for Redis
    assert set(trade.paid) - are_paid == set()
    assert wrong == []


def _flush(url: str) -> None:
    with Redis.from_url(url) as redis:
        for _ in range(_FLUSHES):
            redis.flushall()
            time.sleep(_FLUSH_PAUSE_SECONDS)


def _summary(sent: list[Sent]) -> str:
    return (
        f"{len(sent)} requests, {len(failed(sent))} failed,"
        f" p50 {quantile_ms(sent, 0.5):.0f} ms, p99 {quantile_ms(sent, 0.99):.0f} ms"
    )


def _rows(outside: psycopg.Connection[Any], query: str, *values: Any) -> list[Any]:
    return outside.execute(query.encode(), values).fetchall()
