"""Reading the stream of this process, and running the reactions to what is on it."""

from __future__ import annotations

import logging
import threading
import time
from random import Random
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from portico.errors import StatusError
from portico.events.backoff import Backoff
from portico.events.streams import letters
from portico.events.streams.presence import (
    CONSUMER,
    GROUP,
    SILENT_SECONDS,
    STREAM_SECONDS,
    Presence,
    is_gone,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redis import Redis

    from portico.events.reception import Reception
    from portico.events.streams.letters import Box, Letter
    from portico.v1 import events_service_pb2 as pb

    Entry = tuple[bytes, Mapping[bytes, bytes]]

_log = logging.getLogger(__name__)

_ANSWER_SECONDS = 60

_FAILED = "events from Redis could not be dealt with"

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0


class StreamReader:
    """Takes requests from the stream, one a thread, runs their reactions, and answers.

    All workers and replicas of a process share its stream. What one of them had in hand when it died
    is another's after ``silent_seconds``; one that lives says so in time, however long it takes.

    No request is begun once the time that its sender waits is over. So a copy that lay somewhere does
    nothing when the events in it have long been delivered, or given up and passed over.
    """

    def __init__(
        self,
        redis: Redis,
        box: Box,
        reception: Reception,
        *,
        threads: int = 4,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        """``box`` is that of this process. Nothing is read before :meth:`start`."""
        self._redis = redis
        self._box = box
        self._reception = reception
        self._size = threads
        self._presence = Presence(redis, box, silent_seconds=silent_seconds)
        self._silent_ms = round(silent_seconds * 1000)
        self._wait_ms = round(self._presence.beat_seconds * 500)  # so that a stop is soon noticed
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._look_back_at = 0.0

    def start(self) -> None:
        """Read, from now until :meth:`stop`. Redis need not be there yet."""
        self._presence.start()
        for _ in range(self._size):
            thread = threading.Thread(target=self._run, name="portico-events-reader", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Finish the reactions that run, and read no more. Twice does nothing."""
        self._stopping.set()
        while self._threads:
            self._threads.pop().join()
        self._presence.stop()
        self._stopping.clear()

    def _run(self) -> None:
        pause = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, Random())
        failures = 0
        while not self._stopping.is_set():
            try:
                self._read()
                failures = 0
                continue
            except (RedisConnectionError, RedisTimeoutError):
                pass  # told by the presence
            except RedisError as failure:  # it refuses, and may do so for long
                if not failures:
                    _log.error("%s: %s; they come again", _FAILED, failure)
            except Exception:  # noqa: BLE001  # whatever it is: say so and go on
                _log.exception("%s; they come again", _FAILED)
            failures += 1
            self._stopping.wait(pause.after(failures).total_seconds())

    def _read(self) -> None:
        """Deal with what comes next."""
        try:
            entries = [*self._left()] or self._new()
        except ResponseError as failure:
            if not is_gone(failure):
                raise
            self._make_group()
            return
        for entry, fields in entries:
            with self._presence.holding(entry):
                self._deal_with(entry, fields)
            self._done(entry)

    def _done(self, entry: bytes) -> None:
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.xack(self._box.stream, GROUP, entry)
            pipeline.xdel(self._box.stream, entry)
            pipeline.execute()

    def _left(self) -> Iterable[Entry]:
        """One request that somebody dead had in hand; looked for once a beat."""
        with self._lock:
            if time.monotonic() < self._look_back_at:
                return
            self._look_back_at = time.monotonic() + self._presence.beat_seconds
        stream = self._box.stream
        # With the ids alone: Redis before 7 tells in no other way which entries have been deleted.
        for entry in self._redis.xautoclaim(
            stream, GROUP, CONSUMER, self._silent_ms, count=1, justid=True
        ):
            found: Any = self._redis.xrange(stream, min=entry, max=entry)
            if found:
                yield from found
            else:
                self._redis.xack(stream, GROUP, entry)

    def _new(self) -> Iterable[Entry]:
        """The next request, if there is one soon."""
        found: Any = self._redis.xreadgroup(
            GROUP, CONSUMER, {self._box.stream: ">"}, count=1, block=self._wait_ms
        )
        return [entry for _, entries in found or () for entry in entries]

    def _make_group(self) -> None:
        """There is none at first, and after a flush."""
        try:
            with self._redis.pipeline() as together:  # or a stream might stay for ever
                together.xgroup_create(self._box.stream, GROUP, id="0", mkstream=True)
                together.expire(self._box.stream, STREAM_SECONDS)
                together.execute()
        except ResponseError as failure:
            if "BUSYGROUP" not in str(failure):  # somebody else was quicker
                raise
        self._presence.show()  # sooner than with the next beat

    def _deal_with(self, entry: bytes, fields: Mapping[bytes, bytes]) -> None:
        try:
            letter = letters.read(self._box, fields)
        except letters.LetterError as failure:
            _log.error("an entry of %s is thrown away: %s", self._box.stream, failure)
            return
        seconds = letter.seconds - self._age_seconds(entry)
        if seconds <= 0:
            return  # its sender waits no longer, and sends again
        key = self._box.answer(letter.name)
        sealed = letters.write_answer(self._box, letter.name, self._react(letter, seconds))
        with self._redis.pipeline() as together:  # or an answer might stay for ever
            together.rpush(key, sealed)
            together.expire(key, _ANSWER_SECONDS)
            together.execute()

    def _age_seconds(self, entry: bytes) -> float:
        """How long it has been on the stream, by the clock of Redis, which made its number of the time."""
        seconds, microseconds = self._redis.time()
        return max(seconds + microseconds / 1e6 - int(entry.partition(b"-")[0]) / 1e3, 0.0)

    def _react(self, letter: Letter, seconds: float) -> pb.DeliverResponse | StatusError:
        try:
            return self._reception.take(
                letter.request,
                certified=letter.certified,
                seconds=seconds,
                is_wanted=lambda: not self._stopping.is_set(),
            )
        except StatusError as refusal:
            return refusal
