"""Who waits for the reactions to what they published, in this process and in others."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from uuid import UUID

_Delivery: TypeAlias = "tuple[UUID, str]"  # an event, and the module in another process it is for

_MOST_LEASES = 1000


class Wait(Protocol):
    """Returns when nothing is left to wait for, and whether that was within the time."""

    def __call__(self, seconds: float, *, waiting: Sequence[str] = ()) -> bool:
        """``waiting`` are processes that wait for this one already, and are not asked."""


class Ask(Protocol):
    """Waits for what goes on in another process, and says whether it came to an end in time."""

    def __call__(
        self, process: str, request_id: str, *, waiting: Sequence[str], seconds: float
    ) -> bool:
        """``waiting`` are the processes that wait for the answer."""


class _Followed:
    """What is known of one request: events that are under way here, and processes where it goes on."""

    __slots__ = ("elsewhere", "followers", "leased_until", "pending")

    def __init__(self) -> None:
        self.followers = 0
        self.leased_until = 0.0
        self.pending: set[_Delivery] = set()
        self.elsewhere: dict[str, int] = {}

    def goes_on(self) -> bool:
        return bool(self.pending or self.elsewhere)


class Following:
    """The undelivered events of requests that somebody follows.

    A reaction carries the request id of the event it reacts to, so what follows from an event is
    followed with it: it is published before the event that caused it counts as dealt with. A reaction
    in another process tells whether it has published; that process is asked, with ``ask``, by whoever
    waits.
    """

    def __init__(self) -> None:
        """Nobody is followed, and no other process is known."""
        self.ask: Ask | None = None
        self._changed = threading.Condition()
        self._requests: dict[str, _Followed] = {}
        self._leases: dict[str, None] = {}

    @contextmanager
    def request(self, request_id: str) -> Iterator[Wait]:
        """Follow a request for the block, which gets a function to wait with."""
        with self._changed:
            followed = self._requests.setdefault(request_id, _Followed())
            followed.followers += 1

        def wait(seconds: float, *, waiting: Sequence[str] = ()) -> bool:
            return self._wait(request_id, followed, time.monotonic() + seconds, waiting)

        try:
            yield wait
        finally:
            with self._changed:
                followed.followers -= 1
                self._forget(request_id)

    def published(self, request_id: str, event_id: UUID) -> None:
        """The event is in the outbox; to be called before its commit, when a relay can see it.

        One that is rolled back after all keeps its followers waiting as long as they will.
        """
        self._begun(request_id, (event_id, ""))

    def handed_on(self, request_id: str, event_id: UUID, module: str) -> None:
        """The event is on its way to a module in another process; to be called before this can get it."""
        self._begun(request_id, (event_id, module))

    def dealt_with(
        self, request_id: str, event_id: UUID, *, module: str = "", goes_on_in: str = ""
    ) -> None:
        """All reactions to the event have run, or one has failed and will be tried again later.

        Those of ``module`` in another process where it is given; ``goes_on_in`` names that process if
        the reactions have published in their turn.
        """
        with self._changed:
            followed = self._requests.get(request_id)
            if followed is not None:
                if goes_on_in:
                    followed.elsewhere[goes_on_in] = followed.elsewhere.get(goes_on_in, 0) + 1
                followed.pending.discard((event_id, module))
                self._changed.notify_all()

    def give_up(self, modules: Collection[str]) -> None:
        """These modules cannot be reached: nobody waits for what is on its way to them."""
        with self._changed:
            for followed in self._requests.values():
                followed.pending = {each for each in followed.pending if each[1] not in modules}
            self._changed.notify_all()

    # For a request that somebody in another process follows

    def is_followed(self, request_id: str) -> bool:
        """Whether anybody wants to know what comes of this request."""
        with self._changed:
            return request_id in self._requests

    def lease(self, request_id: str, seconds: float) -> None:
        """Follow a request for so long, so that somebody can come and wait for it.

        Only so many are followed in this way; beyond that the answer may come too early.
        """
        now = time.monotonic()
        with self._changed:
            for each in [*self._leases]:
                if self._requests[each].leased_until < now:
                    self._return_lease(each)
            if request_id in self._leases or len(self._leases) < _MOST_LEASES:
                followed = self._requests.setdefault(request_id, _Followed())
                followed.leased_until = now + seconds
                self._leases[request_id] = None

    def end_lease(self, request_id: str) -> None:
        """Nobody needs to come for this request any more."""
        with self._changed:
            if request_id in self._leases:
                self._return_lease(request_id)

    def goes_on(self, request_id: str) -> bool:
        """Whether a followed request has events that are under way, here or elsewhere."""
        with self._changed:
            followed = self._requests.get(request_id)
            return followed is not None and followed.goes_on()

    def _begun(self, request_id: str, delivery: _Delivery) -> None:
        with self._changed:
            followed = self._requests.get(request_id)
            if followed is not None:
                followed.pending.add(delivery)

    def _return_lease(self, request_id: str) -> None:
        del self._leases[request_id]
        self._forget(request_id)

    def _forget(self, request_id: str) -> None:
        """Keep nothing of a request that nobody follows."""
        if not self._requests[request_id].followers and request_id not in self._leases:
            del self._requests[request_id]

    def _wait(
        self, request_id: str, followed: _Followed, until: float, waiting: Sequence[str]
    ) -> bool:
        while True:
            with self._changed:
                left = until - time.monotonic()
                if not self._changed.wait_for(lambda: not followed.pending, left):
                    return False
                where = [each for each in followed.elsewhere if each not in waiting]
                if not where or self.ask is None:
                    return True
                process = where[0]
                told = followed.elsewhere[process]
            left = until - time.monotonic()
            if left <= 0 or not self.ask(process, request_id, waiting=waiting, seconds=left):
                return False
            with self._changed:
                if followed.elsewhere.get(process) == told:  # and nothing new since it was asked
                    del followed.elsewhere[process]
