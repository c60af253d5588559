"""Events go by calls, then by Redis, then by calls again, in a shop that serves: no request fails, no event is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from redis import Redis

from portico.data.redis_server import RedisServer
from tests.journeys import invariants
from tests.journeys.served import Served, new_folder
from tests.proof.load import Load, failed, quantile_ms
from tests.proof.trade import Trade

_PER_SECOND = 7.5
_PATIENCE_SECONDS = 60
_BY_CALLS = """
[processes.shop]
modules = ["*"]
front = true
[processes.payments]
modules = ["payments"]
[processes.inventory]
modules = ["inventory"]
"""
_BY_REDIS = f'events = "redis"\n{_BY_CALLS}'


class Changing:
    """The program and its topology file. ``carried`` are the requests that Redis had, after each change."""

    def __init__(self, program: Served, file: Path, redis: Redis) -> None:
        self.carried: list[int] = []
        self._program = program
        self._file = file
        self._redis = redis

    def go_over(self, topology: str) -> None:
        """Return when the processes are those of ``topology``, and have served for a while."""
        before = self._program.log().count("the topology is in place")
        self._file.write_text(topology)
        os.kill(self._program.process.pid, signal.SIGHUP)
        until = time.monotonic() + _PATIENCE_SECONDS
        while self._program.log().count("the topology is in place") == before:
            assert time.monotonic() < until, self._program.log()[-4000:]
            time.sleep(0.1)
        self._count()
        time.sleep(8)  # also while the old ones leave
        self._count()

    def _count(self) -> None:
        found = self._redis.info("commandstats").get("cmdstat_xadd", {"calls": 0})
        self.carried.append(int(found["calls"]))


def test_another_carrier_of_events_fails_no_request_and_loses_none(
    fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = RedisServer(tmp_path)
    server.start()
    with new_folder(fresh) as folder, Redis.from_url(server.url) as redis:
        file = folder / "changing.toml"
        file.write_text(_BY_CALLS)
        program = Served(
            folder, topology=str(file), PORTICO_LOG_LEVEL="info", PORTICO_REDIS_URL=server.url
        )
        changing = Changing(program, file, redis)
        try:
            program.start()
            trade = Trade(program.rest)
            with (
                Load(trade.place, per_second=_PER_SECOND) as placing,
                Load(trade.pay, per_second=_PER_SECOND) as paying,
            ):
                time.sleep(2)
                assert redis.keys() == []
                changing.go_over(_BY_REDIS)
                changing.go_over(_BY_CALLS)
            with program.database() as outside:
                invariants.await_rest(outside, patience_seconds=_PATIENCE_SECONDS)
                lost = trade.lost(outside)
        finally:
            program.close()
            server.stop()

    with capsys.disabled():
        for name, load in (("orders", placing), ("webhooks", paying)):
            sent = load.sent()
            print(
                f"\n{name}: {len(sent)} requests, {len(failed(sent))} failed,"
                f" p99 {quantile_ms(sent, 0.99):.0f} ms",
                end="",
            )
        print(f"\nrequests that Redis has had: {changing.carried}")
    in_place, by_redis, _, by_calls = changing.carried
    assert in_place < by_redis
    assert changing.carried[2] == by_calls
    assert failed(placing.sent()) == []
    assert failed(paying.sent()) == []
    assert lost == []
