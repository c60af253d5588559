"""One process asks another by its stream: what is answered, and what is not believed."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from portico.v1 import events_service_pb2 as pb

from portico.clock import ManualClock
from portico.errors import StatusError, permission_denied
from portico.events.receiver import UnreachableError
from portico.events.streams import letters
from tests.portico.events.mailing import ANSWER, LONG, REQUEST, asked, attended, carry, eventually
from tests.portico.events.nodes import streaming

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from portico.events.streams import Streams
    from portico.events.streams.letters import Box
    from tests.portico.events.mailing import Told


class TestARequest:
    @pytest.mark.usefixtures("reader")
    def test_is_answered_and_leaves_nothing_on_the_stream(
        self, streams: Streams, redis: Any, box: Box
    ) -> None:
        assert carry(streams) == ANSWER
        assert eventually(lambda: redis.xlen(box.stream) == 0)
        assert redis.xpending(box.stream, "portico")["pending"] == 0

    @pytest.mark.usefixtures("reader")
    def test_is_refused_with_all_that_the_refusal_says(self, streams: Streams, told: Told) -> None:
        def refuse() -> pb.DeliverResponse:
            raise permission_denied("EVENT_OF_ANOTHER", "it is not yours", module="shop", type="T")

        told.answer = refuse
        with pytest.raises(StatusError) as refused:
            carry(streams)
        assert refused.value.reason == "EVENT_OF_ANOTHER"
        assert refused.value.metadata == {"module": "shop", "type": "T"}
        assert refused.value.code().name == "PERMISSION_DENIED"

    @pytest.mark.usefixtures("reader")
    def test_says_nothing_of_the_events_when_it_fails_in_another_way(
        self, streams: Streams, told: Told
    ) -> None:
        def fail() -> pb.DeliverResponse:
            raise permission_denied("ODD", "not today")

        told.answer = fail
        with pytest.raises(UnreachableError, match="PERMISSION_DENIED: not today"):
            carry(streams)

    def test_is_not_even_written_where_nobody_has_ever_read(
        self, streams: Streams, redis: Any, box: Box
    ) -> None:
        with pytest.raises(UnreachableError, match="nobody reads the events for bank from Redis"):
            streams.carrier("bank").carry(REQUEST, seconds=LONG)
        assert not redis.exists(box.stream)

    def test_does_not_stay_where_nobody_reads_any_more(
        self, streams: Streams, redis: Any, box: Box
    ) -> None:
        attended(redis, box)
        redis.delete(box.present)
        with pytest.raises(UnreachableError, match="nobody reads"):
            streams.carrier("bank").carry(REQUEST, seconds=LONG)
        assert redis.xlen(box.stream) == 0

    def test_is_taken_back_by_a_sender_that_gives_up(
        self, streams: Streams, redis: Any, box: Box
    ) -> None:
        attended(redis, box)
        with pytest.raises(UnreachableError, match="bank has not answered by Redis"):
            streams.carrier("bank").carry(REQUEST, seconds=0.1)
        assert redis.xlen(box.stream) == 0

    def test_is_given_up_when_the_lane_stops(
        self, streams: Streams, redis: Any, box: Box, pool: ThreadPoolExecutor
    ) -> None:
        attended(redis, box)
        carrier = streams.carrier("bank")
        carried = pool.submit(carrier.carry, REQUEST, seconds=2 * LONG)
        asked(redis, box)
        carrier.interrupt()
        with pytest.raises(UnreachableError):
            carried.result(LONG)
        assert redis.xlen(box.stream) == 0

    def test_is_given_up_when_the_last_reader_has_gone_or_it_is_lost(
        self, streams: Streams, redis: Any, box: Box, pool: ThreadPoolExecutor
    ) -> None:
        for lost in (box.present, box.stream):
            redis.delete(box.stream)
            attended(redis, box)
            carried = pool.submit(streams.carrier("bank").carry, REQUEST, seconds=2 * LONG)
            asked(redis, box)
            redis.delete(lost)
            with pytest.raises(UnreachableError):
                carried.result(LONG)

    def test_may_be_answered_while_its_sender_gives_up(
        self, streams: Streams, redis: Any, box: Box, pool: ThreadPoolExecutor
    ) -> None:
        attended(redis, box)
        carrier = streams.carrier("bank")
        until_given_up = threading.Event()

        def beside(*_: object, **__: object) -> None:
            until_given_up.wait(LONG)

        instead: Any = _Instead(carrier._redis, blpop=beside)
        carrier._redis = instead
        carried = pool.submit(carrier.carry, REQUEST, seconds=2 * LONG)
        name = asked(redis, box)
        redis.rpush(box.answer(name), letters.write_answer(box, name, ANSWER))
        carrier.interrupt()
        until_given_up.set()
        assert carried.result(LONG) == ANSWER


class _Instead:
    """A client of which one command is another."""

    def __init__(self, redis: Any, **commands: Any) -> None:
        self._redis = redis
        self.__dict__.update(commands)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)


def _letter(box: Box) -> dict[Any, Any]:
    return letters.write(box, "1", REQUEST, seconds=LONG)


def _sealed(body: bytes, box: Box) -> dict[Any, Any]:
    request: Any = SimpleNamespace(SerializeToString=lambda: body)
    return letters.write(box, "1", request, seconds=LONG)


def _sealed_elsewhere(box: Box, redis_url: str) -> dict[Any, Any]:
    with streaming(redis_url, secret=b"a secret of somebody else") as others:
        foreign = letters.Box(box.application, box.process, others._seals, box.clock)
        return letters.write(foreign, "1", REQUEST, seconds=LONG)


class TestAnEntryThatIsNoLetter:
    @pytest.mark.usefixtures("reader")
    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param(_sealed_elsewhere, id="another secret"),
            pytest.param(lambda *_: {"garbage": b"\xff"}, id="other fields"),
            pytest.param(lambda box, _: _letter(box) | {"name": b"\xff"}, id="no text"),
            pytest.param(lambda box, _: _letter(box) | {"body": b""}, id="an empty body"),
            pytest.param(lambda box, _: _letter(box) | {"name": "2"}, id="another name"),
            pytest.param(lambda box, _: _letter(box) | {"seconds": "9999.000"}, id="more time"),
            pytest.param(
                lambda box, _: _letter(box) | {"sent": f"{box.clock.now().timestamp() - 60:.0f}"},
                id="another moment",
            ),
            pytest.param(lambda box, _: _sealed(b"\xff", box), id="no request"),
            pytest.param(
                lambda box, _: _letter(_of("post", box)),
                id="for another process",
            ),
        ],
    )
    def test_is_thrown_away_and_told_and_the_next_one_read(
        self,
        wrong: Callable[[Box, str], dict[Any, Any]],
        streams: Streams,
        redis: Any,
        redis_url: str,
        box: Box,
        told: Told,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        redis.xadd(box.stream, wrong(box, redis_url))
        assert carry(streams) == ANSWER
        assert len(told.seconds) == 1
        assert f"an entry of {box.stream} is thrown away" in caplog.text
        assert not any("\n" in each.getMessage() for each in caplog.records)  # no lines of its own
        assert eventually(lambda: redis.xlen(box.stream) == 0)

    @pytest.mark.usefixtures("reader")
    def test_was_one_long_ago(
        self,
        streams: Streams,
        redis: Any,
        box: Box,
        told: Told,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        then = ManualClock(box.clock.now() - timedelta(hours=2))
        old = letters.Box(box.application, box.process, box.seals, then)
        redis.xadd(box.stream, letters.write(old, "1", REQUEST, seconds=LONG))
        assert carry(streams) == ANSWER
        assert len(told.seconds) == 1
        assert "it is too old" in caplog.text


class TestTheTimeOfARequest:
    """It counts from when the request was put on the stream, which is told by the entry's number."""

    @pytest.mark.usefixtures("reader")
    def test_is_what_its_sender_still_waits(self, redis: Any, box: Box, told: Told) -> None:
        redis.xadd(box.stream, _letter(box), id=f"{_redis_ms(redis) - 20_000}-1")
        assert eventually(lambda: told.seconds)
        assert 0 < told.seconds[0] <= LONG - 20

    @pytest.mark.usefixtures("reader")
    def test_may_be_over_and_nothing_of_it_is_begun(
        self, streams: Streams, redis: Any, box: Box, told: Told
    ) -> None:
        redis.xadd(box.stream, _letter(box), id=f"{_redis_ms(redis) - 40_000}-1")
        assert carry(streams) == ANSWER
        assert len(told.seconds) == 1
        assert eventually(lambda: redis.xlen(box.stream) == 0)


def _redis_ms(redis: Any) -> int:
    seconds, microseconds = redis.time()
    return int(seconds * 1000 + microseconds // 1000)


class TestAnAnswer:
    @pytest.mark.parametrize(
        "forge",
        [
            pytest.param(lambda *_: b"", id="nothing"),
            pytest.param(lambda *_: b"+" + ANSWER.SerializeToString(), id="without a seal"),
            pytest.param(
                lambda box, _: letters.write_answer(box, "1", ANSWER), id="to another request"
            ),
            pytest.param(
                lambda box, name: letters.write(box, name, REQUEST, seconds=1)["body"],
                id="the request itself",
            ),
            pytest.param(
                lambda box, name: letters.write_answer(_of("post", box), name, ANSWER),
                id="of another process",
            ),
        ],
    )
    def test_that_is_forged_is_not_believed(
        self,
        forge: Callable[[Box, str], bytes],
        streams: Streams,
        redis: Any,
        box: Box,
        pool: ThreadPoolExecutor,
    ) -> None:
        attended(redis, box)
        carried = pool.submit(streams.carrier("bank").carry, REQUEST, seconds=LONG)
        name = asked(redis, box)
        redis.rpush(box.answer(name), forge(box, name))
        with pytest.raises(UnreachableError, match="an answer of bank cannot be read"):
            carried.result(LONG)

    def test_that_is_good_is_believed(
        self, streams: Streams, redis: Any, box: Box, pool: ThreadPoolExecutor
    ) -> None:
        attended(redis, box)
        carried = pool.submit(streams.carrier("bank").carry, REQUEST, seconds=LONG)
        name = asked(redis, box)
        redis.rpush(box.answer(name), letters.write_answer(box, name, ANSWER))
        assert carried.result(LONG) == ANSWER


def _of(process: str, box: Box) -> Box:
    return letters.Box(box.application, process, box.seals, box.clock)
