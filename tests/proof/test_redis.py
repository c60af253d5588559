"""Redis is killed, comes back empty, and is flushed under load: events wait, and none is lost or counts twice."""

from __future__ import annotations

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
from tests.proof.load import Load, Sent, failed, quantile_ms
from tests.proof.parts import running
from tests.proof.placements import topology_file
from tests.proof.trade import Trade

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
                lost = trade.lost(outside)
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
    assert lost == []


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
