"""Those who read a stream: they share it, die, and leave."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from portico.v1 import events_service_pb2 as pb

from portico.events.streams import letters
from portico.events.streams.presence import Presence
from tests.portico.events.mailing import (
    ANSWER,
    LONG,
    REQUEST,
    asked,
    attended,
    carry,
    eventually,
    new_reader,
)
from tests.portico.events.nodes import SILENT_SECONDS, streaming

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from portico.events.streams import Streams
    from portico.events.streams.letters import Box
    from tests.portico.events.mailing import Slow, Told


class TestTwoReaders:
    def test_share_what_comes(self, streams: Streams, told: Told, pool: ThreadPoolExecutor) -> None:
        both_are_at_it = threading.Barrier(2, timeout=LONG)

        def meet() -> pb.DeliverResponse:
            both_are_at_it.wait()
            return ANSWER

        told.answer = meet
        readers = [new_reader(streams, told) for _ in range(2)]
        for reader in readers:
            reader.start()
        carried = [pool.submit(carry, streams) for _ in range(4)]
        assert [each.result(LONG) for each in carried] == [ANSWER] * 4
        assert len(told.seconds) == 4
        for reader in readers:
            reader.stop()

    def test_leave_each_other_what_takes_long_and_is_told_to_be_in_hand(
        self, streams: Streams, redis: Any, box: Box, slow: Slow, pool: ThreadPoolExecutor
    ) -> None:
        reader = new_reader(streams, slow, silent_seconds=SILENT_SECONDS)
        reader.start()
        carried = pool.submit(carry, streams)
        assert eventually(lambda: slow.seconds)
        time.sleep(2 * SILENT_SECONDS)
        assert eventually(lambda: _silent_ms(redis, box) < SILENT_SECONDS * 1000)
        slow.may.set()
        assert carried.result(LONG) == ANSWER
        reader.stop()

    def test_would_take_it_from_each_other_without_a_word(
        self,
        streams: Streams,
        slow: Slow,
        told: Told,
        pool: ThreadPoolExecutor,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(Presence, "_claim", lambda *_: None)
        first, second = new_reader(streams, slow), new_reader(streams, told)
        second._silent_ms = round(SILENT_SECONDS * 1000)
        first.start()
        carried = pool.submit(carry, streams)
        assert eventually(lambda: slow.seconds)
        second.start()
        assert carried.result(LONG) == ANSWER
        assert len(told.seconds) == 1
        slow.may.set()
        for reader in (first, second):
            reader.stop()

    def test_take_over_what_a_dead_one_had_in_hand(
        self, streams: Streams, redis: Any, box: Box, told: Told, pool: ThreadPoolExecutor
    ) -> None:
        attended(redis, box)
        carried = pool.submit(streams.carrier("bank").carry, REQUEST, seconds=LONG)
        asked(redis, box)
        assert redis.xreadgroup(
            "portico", "portico", {box.stream: ">"}
        )  # and is never heard of again
        reader = new_reader(streams, told, silent_seconds=SILENT_SECONDS)
        reader.start()
        assert carried.result(LONG) == ANSWER
        assert len(told.seconds) == 1
        reader.stop()

    def test_forget_what_a_dead_one_had_in_hand_when_its_sender_has_given_up(
        self, streams: Streams, redis: Any, box: Box, told: Told
    ) -> None:
        attended(redis, box)
        gone = redis.xadd(box.stream, {"any": "thing"})
        assert redis.xreadgroup("portico", "portico", {box.stream: ">"})
        redis.xdel(box.stream, gone)
        reader = new_reader(streams, told, silent_seconds=SILENT_SECONDS)
        reader.start()
        assert eventually(lambda: redis.xpending(box.stream, "portico")["pending"] == 0)
        assert told.seconds == []
        reader.stop()


def _silent_ms(redis: Any, box: Box) -> int:
    """Since when nobody has been heard of who has the one request in hand."""
    (found,) = redis.xpending_range(box.stream, "portico", min="-", max="+", count=2)
    return int(found["time_since_delivered"])


def test_a_reader_that_stops_finishes_what_it_has_begun(
    streams: Streams, slow: Slow, pool: ThreadPoolExecutor
) -> None:
    reader = new_reader(streams, slow)
    reader.start()
    carried = pool.submit(carry, streams)
    assert eventually(lambda: slow.seconds)
    stopped = pool.submit(reader.stop)
    slow.may.set()
    assert carried.result(LONG) == ANSWER
    stopped.result(LONG)
    reader.stop()  # twice does nothing


def test_everything_in_redis_ends_by_itself(
    streams: Streams, redis: Any, box: Box, told: Told
) -> None:
    reader = new_reader(streams, told, silent_seconds=SILENT_SECONDS)
    reader.start()
    assert carry(streams) == ANSWER
    redis.xadd(box.stream, letters.write(box, "1", REQUEST, seconds=LONG))  # nobody waits for it
    assert eventually(lambda: redis.exists(box.answer("1")))
    kept = [box.stream, box.answer("1")]
    assert {*redis.keys(f"{box.stream}*")} - {box.present.encode()} == {*map(str.encode, kept)}
    assert all(redis.ttl(key) > 0 for key in kept)
    reader.stop()
    assert eventually(lambda: not redis.exists(box.present))


def test_a_stream_ends_by_itself_from_the_moment_that_it_is_made(
    streams: Streams, redis: Any, box: Box, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Presence, "show", lambda _: None)
    reader = new_reader(streams, told)
    reader.start()
    assert eventually(lambda: redis.exists(box.stream))
    assert redis.ttl(box.stream) > 0
    reader.stop()


def test_a_stream_stays_while_anybody_reads_it(
    streams: Streams, redis: Any, box: Box, told: Told
) -> None:
    reader = new_reader(streams, told, silent_seconds=SILENT_SECONDS)
    reader.start()
    assert eventually(lambda: redis.exists(box.stream))
    redis.expire(box.stream, 60)
    assert eventually(lambda: redis.ttl(box.stream) > 60)
    reader.stop()


def test_no_connection_is_left_after_the_end(redis_url: str, redis: Any, told: Told) -> None:
    with streaming(f"{redis_url}?client_name=counted") as streams:
        reader = new_reader(streams, told, threads=3)
        reader.start()
        assert carry(streams) == ANSWER
        assert eventually(lambda: _connected(redis) >= 4)
        reader.stop()
    assert eventually(lambda: _connected(redis) == 0)


def _connected(redis: Any) -> int:
    return sum(client["name"] == "counted" for client in redis.client_list())
