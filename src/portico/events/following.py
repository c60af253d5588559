"""Who waits, in this process, for the reactions to what they published."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID


class Following:
    """The undelivered events of requests that somebody follows.

    A reaction carries the request id of the event it reacts to, so what follows from an event is
    followed with it: it is published before the event that caused it counts as dealt with.
    """

    def __init__(self) -> None:
        """Nobody is followed."""
        self._changed = threading.Condition()
        self._followers: Counter[str] = Counter()
        self._pending: dict[str, set[UUID]] = {}

    @contextmanager
    def request(self, request_id: str) -> Iterator[Callable[[float], bool]]:
        """Follow a request for the block, which gets a function to wait with.

        ``wait(seconds)`` returns when no event that the request published since is left to deal
        with, and whether that was within the time.
        """
        with self._changed:
            self._followers[request_id] += 1
            pending = self._pending.setdefault(request_id, set())
        try:
            yield lambda seconds: self._wait(pending, seconds)
        finally:
            with self._changed:
                self._followers[request_id] -= 1
                if not self._followers[request_id]:
                    del self._followers[request_id], self._pending[request_id]

    def published(self, request_id: str, event_id: UUID) -> None:
        """The event is in the outbox; to be called before its commit, when a relay can see it.

        One that is rolled back after all keeps its followers waiting as long as they will.
        """
        with self._changed:
            if request_id in self._pending:
                self._pending[request_id].add(event_id)

    def dealt_with(self, request_id: str, event_id: UUID) -> None:
        """All reactions to the event have run, or one has failed and will be tried again later."""
        with self._changed:
            if request_id in self._pending:
                self._pending[request_id].discard(event_id)
                self._changed.notify_all()

    def _wait(self, pending: set[UUID], seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not pending, seconds)
