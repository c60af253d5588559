"""A Redis that is flushed, killed, not there yet, or somebody else's: readers outlive it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from portico.data.redis_server import RedisServer, redis_server
from portico.events.receiver import UnreachableError
from portico.events.streams import StreamReader
from portico.events.streams.presence import Presence
from tests.portico.events.mailing import ANSWER, LONG, REQUEST, carry, eventually, new_reader
from tests.portico.events.nodes import SILENT_SECONDS, streaming

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from portico.events.streams import Streams
    from portico.events.streams.letters import Box
    from tests.portico.events.mailing import Slow, Told


class TestARedis:
    def test_that_is_flushed_again_and_again_stops_nobody_of_many(
        self, streams: Streams, redis: Any, told: Told, caplog: pytest.LogCaptureFixture
    ) -> None:
        reader = new_reader(streams, told, threads=6)
        reader.start()
        for _ in range(10):
            assert _carried_at_last(streams)
            redis.flushall()
        reader.stop()
        assert caplog.text == ""

    def test_that_is_flushed_is_read_again_after_what_runs(
        self,
        streams: Streams,
        redis: Any,
        slow: Slow,
        pool: ThreadPoolExecutor,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        reader = new_reader(streams, slow, silent_seconds=SILENT_SECONDS)
        reader.start()
        lost = pool.submit(carry, streams)
        assert eventually(lambda: slow.seconds)
        redis.flushall()
        with pytest.raises(UnreachableError):
            lost.result(LONG)
        time.sleep(SILENT_SECONDS)  # it says that it works on what is not there any more
        slow.may.set()
        assert carry(streams) == ANSWER
        reader.stop()
        assert caplog.text == ""

    def test_that_dies_and_starts_empty_is_read_again_and_told_once(
        self, tmp_path: Path, told: Told, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        server = RedisServer(tmp_path)
        server.start()
        try:
            with streaming(server.url) as streams:
                reader = new_reader(streams, told, threads=2)
                reader.start()
                assert carry(streams) == ANSWER
                server.kill()
                with pytest.raises(UnreachableError, match="Redis: "):
                    streams.carrier("bank").carry(REQUEST, seconds=LONG)
                assert eventually(lambda: "no events can be read from Redis" in caplog.text)
                server.start()
                assert _carried_at_last(streams)
                assert eventually(lambda: "events are read from Redis again" in caplog.text)
                reader.stop()
        finally:
            server.stop()
        assert caplog.text.count("no events can be read from Redis") == 1

    def test_that_is_not_there_at_first_is_waited_for(self, tmp_path: Path, told: Told) -> None:
        server = RedisServer(tmp_path)
        with streaming(server.url) as streams:
            reader = new_reader(streams, told)
            reader.start()
            server.start()
            try:
                assert _carried_at_last(streams)
            finally:
                reader.stop()
                server.stop()

    def test_that_has_something_else_there_is_told_and_tried_again(
        self,
        streams: Streams,
        redis: Any,
        box: Box,
        told: Told,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        redis.set(box.stream, "something else")
        redis.config_resetstat()
        reader = new_reader(streams, told)
        reader.start()
        assert eventually(lambda: _calls(redis, "xreadgroup") >= 3)
        assert caplog.text.count("events from Redis could not be dealt with") == 1
        assert "Traceback" not in caplog.text
        redis.delete(box.stream)
        assert carry(streams) == ANSWER
        reader.stop()

    def test_that_is_only_a_copy_of_another_now_is_left(self, tmp_path: Path) -> None:
        with (
            redis_server(tmp_path) as url,
            Redis.from_url(url) as redis,
            streaming(f"{url}?client_name=ours") as streams,
        ):
            carrier = streams.carrier("bank")
            with pytest.raises(UnreachableError, match="nobody reads"):
                carrier.carry(REQUEST, seconds=LONG)
            assert len(_connections(redis)) == 1
            redis.replicaof("127.0.0.1", 1)
            with pytest.raises(UnreachableError, match="read only replica"):
                carrier.carry(REQUEST, seconds=LONG)
            # The next connection is made to where the address leads by then.
            assert eventually(lambda: not _connections(redis))

    def test_that_fails_a_beat_in_whatever_way_has_the_next_all_the_same(
        self, streams: Streams, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        may_show = Presence.show
        failures = iter([LookupError("odd")])

        def show(presence: Presence) -> None:
            for failure in failures:
                raise failure
            may_show(presence)

        monkeypatch.setattr(Presence, "show", show)
        monkeypatch.setattr(StreamReader, "_make_group", lambda _: None)
        reader = new_reader(streams, told, silent_seconds=SILENT_SECONDS)
        reader.start()
        box = streams._box("bank")
        assert eventually(lambda: streams._redis.exists(box.present))
        reader.stop()


class TestAnAddress:
    @pytest.mark.parametrize(
        "options", ["protocol=3", "decode_responses=true", "socket_timeout=0.1"]
    )
    def test_does_not_say_how_redis_is_talked_to(
        self, redis_url: str, told: Told, options: str
    ) -> None:
        with streaming(f"{redis_url}?{options}") as streams:
            reader = new_reader(streams, told)
            reader._wait_ms = 300
            reader.start()
            assert carry(streams) == ANSWER
            assert streams._redis.blpop(["nothing"], timeout=0.3) is None
            reader.stop()

    @pytest.mark.parametrize("url", ["redis://here/0?no_such=option", "redis://a..b/0", "http://a"])
    def test_that_no_attempt_could_use_is_refused_at_once(self, url: str) -> None:
        with pytest.raises(ValueError), streaming(url):  # noqa: PT011  # in the driver's words
            pass


def _calls(redis: Any, command: str) -> int:
    return int(redis.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def _connections(redis: Any) -> set[str]:
    return {client["id"] for client in redis.client_list() if client["name"] == "ours"}


def _carried_at_last(streams: Streams) -> bool:
    def carried() -> bool:
        try:
            return carry(streams) == ANSWER
        except UnreachableError:
            return False

    return eventually(carried)
