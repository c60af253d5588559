"""One process asks another by its stream, without a database: who asks, who answers, who is only there."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from portico.v1 import events_service_pb2 as pb

from portico.events.receiver import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.events.streams import StreamReader, Streams
    from portico.events.streams.letters import Box

LONG = 30.0
REQUEST = pb.DeliverRequest(events=[pb.Event(id="1", module="bank")])
ANSWER = pb.DeliverResponse(outcomes=[pb.DeliverResponse.Outcome(error="heard")])


class Told:
    """Takes events in, writes down how long each sender waits, and answers what it is to answer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.answer: Callable[[], pb.DeliverResponse] = lambda: ANSWER

    def take(self, _: pb.DeliverRequest, *, seconds: float, **__: object) -> pb.DeliverResponse:
        self.seconds.append(seconds)
        return self.answer()


class Slow(Told):
    """Answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()
        self.answer = self._answer

    def _answer(self) -> pb.DeliverResponse:
        assert self.may.wait(LONG)
        return ANSWER


def new_reader(
    streams: Streams, told: Told, *, threads: int = 1, silent_seconds: float = 3.0
) -> StreamReader:
    """Not started."""
    reception: Any = told
    reader = streams.reader("bank", reception, threads=threads, silent_seconds=silent_seconds)
    reader._wait_ms = 20  # so that a stop is quick
    return reader


def eventually(condition: Callable[[], object]) -> bool:
    until = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def carry(streams: Streams, *, seconds: float = LONG) -> pb.DeliverResponse:
    """As a lane does, which tries again while nobody reads."""
    until = time.monotonic() + LONG
    while True:
        try:
            return streams.carrier("bank").carry(REQUEST, seconds=seconds)
        except UnreachableError as failure:
            if "nobody reads" not in str(failure) or time.monotonic() > until:
                raise
            time.sleep(0.005)


def attended(redis: Any, box: Box) -> None:
    """As if somebody read, who never answers."""
    redis.xgroup_create(box.stream, "portico", mkstream=True)
    redis.set(box.present, "")


def asked(redis: Any, box: Box) -> str:
    """The name of the one request that is on the stream, once it is there."""
    assert eventually(lambda: redis.xlen(box.stream) == 1)
    ((_, fields),) = redis.xrange(box.stream)
    return str(fields[b"name"].decode())
