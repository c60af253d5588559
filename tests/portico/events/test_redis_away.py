"""A Redis that is flushed, killed, not there yet, or somebody else's: readers outlive it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from portico.data.redis_server import RedisServer
from portico.events.receiver import UnreachableError
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
        reader = new_reader(streams, told)
        reader.start()
        assert eventually(lambda: "events from Redis could not be dealt with" in caplog.text)
        redis.delete(box.stream)
        assert carry(streams) == ANSWER
        reader.stop()


def _carried_at_last(streams: Streams) -> bool:
    def carried() -> bool:
        try:
            return carry(streams) == ANSWER
        except UnreachableError:
            return False

    return eventually(carried)
