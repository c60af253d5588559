"""Taking events to another process by its stream."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from redis.exceptions import RedisError

from portico.events.receiver import UnreachableError
from portico.events.streams import letters
from portico.security.seals import SealError

if TYPE_CHECKING:
    from redis import Redis

    from portico.events.streams.letters import Box
    from portico.v1 import events_service_pb2 as pb

_GLANCE_SECONDS = 0.5  # between two looks whether anybody reads at all
_SHORTEST_SECONDS = 0.001  # Redis takes 0 for for ever


class StreamCarrier:
    """Appends events to the stream of a process and waits for the answer. See ``Carrier``."""

    def __init__(self, redis: Redis, box: Box) -> None:
        """``box`` is that of the process."""
        self._redis = redis
        self._box = box
        self._given_up = threading.Event()

    def carry(self, request: pb.DeliverRequest, *, seconds: float) -> pb.DeliverResponse:
        """See ``Carrier``."""
        self._given_up.clear()
        name = uuid4().hex
        try:
            sealed = self._ask(name, request, seconds)
        except RedisError as failure:
            raise UnreachableError(f"Redis: {failure}") from failure
        except SealError as failure:  # this process's certificate is no longer good
            raise UnreachableError(f"events cannot be sealed: {failure}") from failure
        modules = {event.module for event in request.events}
        return letters.read_answer(self._box, name, sealed, modules=modules)

    def interrupt(self) -> None:
        """See ``Carrier``; it takes up to half a second, and three where Redis does not answer."""
        self._given_up.set()

    def _ask(self, name: str, request: pb.DeliverRequest, seconds: float) -> bytes:
        until = time.monotonic() + seconds
        entry = self._append(name, request, seconds)
        answer = self._box.answer(name)
        while not self._given_up.is_set() and (left := until - time.monotonic()) > 0:
            glance = max(min(left, _GLANCE_SECONDS), _SHORTEST_SECONDS)
            found: Any = self._redis.blpop([answer], timeout=glance)
            if found:
                return bytes(found[1])
            if not self._can_come(entry):
                break
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.xdel(self._box.stream, entry)  # who has read it already goes on
            pipeline.lpop(answer)  # it may have come just now
            _, sealed = pipeline.execute()
        if sealed is None:
            raise UnreachableError(f"{self._box.process} has not answered by Redis")
        return bytes(sealed)

    def _can_come(self, entry: bytes) -> bool:
        """Whether anybody will answer: somebody reads, and the entry was not lost. It goes after its answer."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(self._box.present)
            pipeline.xrange(self._box.stream, min=entry, max=entry)
            return all(pipeline.execute())

    def _append(self, name: str, request: pb.DeliverRequest, seconds: float) -> bytes:
        """Nothing is left on a stream that nobody reads."""
        fields = letters.write(self._box, name, request, seconds=seconds)
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(self._box.present)
            pipeline.xadd(self._box.stream, fields, nomkstream=True)
            present, entry = pipeline.execute()
        if entry and not present:
            self._redis.xdel(self._box.stream, entry)
        if not (entry and present):
            raise UnreachableError(f"nobody reads the events for {self._box.process} from Redis")
        return bytes(entry)
