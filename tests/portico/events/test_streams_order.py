"""Whatever happens to Redis and to those who read: each effect once, and those of an aggregate in order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from portico.v1 import events_service_pb2 as pb
from redis import Redis

from portico.clock import SystemClock
from portico.data.redis_server import RedisServer
from portico.events import inbox
from tests.portico.events import killable, nodes
from tests.portico.events.mailing import LONG, eventually
from tests.portico.events.nodes import Ledger, Node, delivering, is_read, serving, streaming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from sqlalchemy import URL

    from portico.clock import ManualClock
    from portico.data import Engine
    from portico.events.streams import Streams

_State = pb.DeliverResponse.State


class Held(Ledger):
    """Goes on, inside its transaction, when it may."""

    def __init__(self, schema: str) -> None:
        self.entered, self.may = threading.Event(), threading.Event()
        super().__init__(schema, fails=self._wait)

    def _wait(self, _: str) -> bool:
        self.entered.set()
        assert self.may.wait(LONG)
        return False


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held("bank")
    yield held
    held.may.set()


def is_once_and_in_order(effects: list[str], expected: list[str]) -> bool:
    by_aggregate = defaultdict(list)
    for each in effects:
        aggregate, _, number = each.partition(":")
        by_aggregate[aggregate].append(int(number))
    return sorted(effects) == sorted(expected) and all(
        numbers == sorted(numbers) for numbers in by_aggregate.values()
    )


def flush(server: RedisServer, chance: Random) -> int:
    """Answers how often there was anything to forget."""
    met = 0
    with Redis.from_url(server.url) as redis:
        for _ in range(12):
            time.sleep(chance.random() * 0.06)
            met += bool(redis.dbsize())
            redis.flushall()
    return met


def kill(server: RedisServer, chance: Random) -> int:
    """Answers how often."""
    for _ in range(2):
        time.sleep(chance.random() * 0.2)
        server.kill()
        time.sleep(chance.random() * 0.2)
        server.start()
    return 2


@pytest.mark.parametrize("disturb", [flush, kill])
def test_a_redis_that_forgets_everything_at_any_moment_loses_and_doubles_nothing(
    disturb: Callable[[RedisServer, Random], int],
    engine: Engine,
    tmp_path: Path,
    pool: ThreadPoolExecutor,
) -> None:
    chance, clock = Random(11), SystemClock()
    ledger = Ledger("bank", fails=lambda _: chance.random() < 0.05)
    settings = {"max_attempts": 1000, "poll_seconds": 0.05, "first_delay_seconds": 0.01}
    settings |= {"longest_delay_seconds": 0.05, "longest_pause_seconds": 0.1}
    expected = [f"{aggregate}:{number}" for number in range(25) for aggregate in "abcdef"]
    server = RedisServer(tmp_path)
    server.start()
    with streaming(server.url) as streams:
        shop = Node("shop", engine, clock=clock)
        readers = [Node("bank", engine, ledger, clock=clock, streams=streams) for _ in range(2)]
        for reader in readers:
            reader.join()
        relays = [
            shop.join(readers[0]).new_relay(readers[0], events_per_call=6, **settings)
            for _ in range(2)
        ]
        try:
            with serving(shop, *readers), delivering(*relays):
                disturbed = pool.submit(disturb, server, Random(5))
                for each in expected:
                    shop.publish(each)
                assert disturbed.result(LONG) > 1
                assert eventually(lambda: shop.relay.waiting_for("bank") == 0)
                assert eventually(lambda: len(readers[0].effects()) >= len(expected))
        finally:
            server.stop()
    assert shop.rows("SELECT 1 FROM {}.outbox_elsewhere WHERE delivered_at IS NULL") == []
    assert is_once_and_in_order(readers[0].effects(), expected)


def test_copies_of_a_request_at_two_readers_have_their_effects_once_and_in_order(
    engine: Engine, streams: Streams, pool: ThreadPoolExecutor
) -> None:
    assert _effects_of_copies(engine, streams, pool) == 8 * 9


def test_copies_of_a_request_would_be_seen_without_the_inbox(
    engine: Engine,
    streams: Streams,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox, "received", lambda *_, **__: True)
    with pytest.raises(AssertionError, match="is_once_and_in_order"):
        _effects_of_copies(engine, streams, pool)


def _effects_of_copies(engine: Engine, streams: Streams, pool: ThreadPoolExecutor) -> int:
    """Send each request twice at the same time, and again until all is done, to reactions that fail now and then."""
    chance, clock = Random(3), SystemClock()
    ledger = Ledger("bank", fails=lambda _: chance.random() < 0.2)
    readers = [Node("bank", engine, ledger, clock=clock, streams=streams).join() for _ in range(2)]
    expected = []
    with serving(*readers):
        for lap in range(8):
            values = [f"{lap}{aggregate}:{number}" for number in range(3) for aggregate in "abc"]
            expected += values
            request = pb.DeliverRequest(events=[_event(value) for value in values])
            is_done = False
            while not is_done:
                carried = [
                    pool.submit(streams.carrier("bank").carry, request, seconds=LONG)
                    for _ in range(2)
                ]
                answers = [each.result(LONG) for each in carried]
                is_done = any(set(_states(answer)) == {"DONE"} for answer in answers)
    effects = readers[0].effects()
    assert is_once_and_in_order(effects, expected)
    return len(effects)


def test_what_still_runs_for_a_lane_that_gave_up_is_not_overtaken_at_another_reader(
    engine: Engine, clock: ManualClock, streams: Streams, held: Held
) -> None:
    first = Node("bank", engine, held, clock=clock, streams=streams).join()
    free = Held("bank")  # the same consumer
    free.may.set()
    second = Node("bank", engine, free, clock=clock, streams=streams).join()
    shop = Node("shop", engine, clock=clock).join(first)
    with serving(shop):
        first.read(threads=1)
        shop.publish("a:1", "a:2", "a:3")
        with delivering(shop.relay):
            assert held.entered.wait(LONG)
        assert (
            shop.relay.waiting_for("bank") == 3
        )  # nobody has a claim any more, and the first still runs
        second.read(threads=1)
        again = shop.new_relay(first)
        with delivering(again):
            assert eventually(lambda: _is_read(streams))
            time.sleep(0.2)
            assert second.effects() == []
            assert not free.entered.is_set()
            held.may.set()
            assert eventually(lambda: shop.relay.waiting_for("bank") == 0)
        for node in (first, second):
            node.close()
    assert second.effects() == ["a:1", "a:2", "a:3"]


def test_a_reader_that_stops_does_not_begin_what_is_left_of_a_request(
    engine: Engine, clock: ManualClock, streams: Streams, held: Held, pool: ThreadPoolExecutor
) -> None:
    bank = Node("bank", engine, held, clock=clock, streams=streams).join()
    bank.read(threads=1)
    request = pb.DeliverRequest(events=[_event("a:1"), _event("b:1"), _event("b:2")])
    carried = pool.submit(streams.carrier("bank").carry, request, seconds=LONG)
    assert held.entered.wait(LONG)
    assert bank.reader is not None
    stopped = pool.submit(bank.reader.stop)
    assert eventually(bank.reader._stopping.is_set)
    held.may.set()
    assert _states(carried.result(LONG)) == ["DONE", "NOT_TRIED", "NOT_TRIED"]
    stopped.result(LONG)
    bank.close()
    assert bank.effects() == ["a:1"]


def test_what_a_reader_was_killed_over_is_anothers(
    engine: Engine, clock: ManualClock, url: URL, redis_url: str, pool: ThreadPoolExecutor
) -> None:
    with streaming(redis_url) as streams:
        bank = Node("bank", engine, Ledger("bank"), clock=clock, streams=streams).join()
        killed = subprocess.Popen(
            [sys.executable, "-m", killable.__name__, *_told(url, redis_url, streams)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdout=subprocess.PIPE,
        )
        try:
            assert eventually(lambda: is_read(streams, "bank"))
            request = pb.DeliverRequest(events=[_event("a:1"), _event("a:2")])
            carried = pool.submit(streams.carrier("bank").carry, request, seconds=LONG)
            assert killed.stdout is not None
            assert killed.stdout.readline() == b"reacting to a:1\n"
        finally:
            killed.kill()
            killed.communicate()
        bank.read(silent_seconds=nodes.SILENT_SECONDS)
        assert _states(carried.result(LONG)) == ["DONE", "DONE"]
        bank.close()
    assert bank.effects() == ["a:1", "a:2"]


def _told(url: URL, redis_url: str, streams: Streams) -> list[str]:
    return [url.render_as_string(hide_password=False), redis_url, streams._application]


def _event(value: str) -> pb.Event:
    found = pb.Event(
        id=str(uuid4()),
        module="bank",
        type="google.protobuf.StringValue",
        aggregate_type="shop",
        aggregate_id=value.partition(":")[0],
        payload=StringValue(value=value).SerializeToString(),
        request_id="r1",
        trace_id="1" * 32,
    )
    found.occurred_at.GetCurrentTime()
    return found


def _states(response: pb.DeliverResponse) -> list[str]:
    return [_State.Name(outcome.state) for outcome in response.outcomes]


def _is_read(streams: Streams) -> bool:
    """Whether somebody has in hand what is on the stream; what was given up is no longer there."""
    stream = streams._box("bank").stream
    entries: Any = streams._redis.xrange(stream)
    pending: Any = streams._redis.xpending_range(stream, "portico", "-", "+", 10)
    ids = {entry for entry, _ in entries}
    return bool(ids) and ids <= {each["message_id"] for each in pending}
