"""Load shedding: whether work that arrives is let into the queue for threads, or is refused at once.

A queue that empties now and then takes up a burst, which is what it is for. A queue that stands makes
everybody wait and serves nobody sooner; then whoever would wait too long is told so while there is time to
go elsewhere. The wait is foretold from how many wait and how fast the queue moves, so that it needs no
number of calls a second, and does not depend on how long the threads hold each piece of work.

After CoDel (RFC 8289) in telling a burst from a standing queue; it refuses at the door what CoDel drops
at the head, because what is refused there costs neither a thread nor the reading of a request.
"""

from __future__ import annotations

import math
import sys
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BURST = 0.5
_SMOOTHING = 1 / 32


class Admission:
    """The rule for one queue.

    Work is refused when ``most_waiting`` wait, or when the queue has not been empty for half of
    ``patience_seconds`` and new work would wait for longer than that. ``now`` tells seconds that never
    go back.

    No lock: threads that come in each other's way make the forecast a little worse and nothing else.
    """

    def __init__(
        self,
        *,
        most_waiting: int = 1000,
        patience_seconds: float = 0.2,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.most_waiting = most_waiting
        self.patience_seconds = patience_seconds
        self.refused = 0
        """Pieces of work that were refused, so far."""
        self._now = now
        self._gap = 0.0  # seconds between two pieces of work taken, while others wait
        self._taken_at = 0.0
        self._standing_since: float | None = None

    @staticmethod
    def of_everything() -> Admission:
        """The rule that refuses nothing."""
        return Admission(most_waiting=sys.maxsize, patience_seconds=math.inf)

    def refuses(self, waiting: int) -> bool:
        """Whether work that arrives now, behind ``waiting`` others, must go; it is counted then."""
        if not waiting or (waiting < self.most_waiting and not self._stands(waiting)):
            return False
        self.refused += 1
        return True

    def arrived(self) -> None:
        """Work is about to be put into the queue."""
        if self._standing_since is None:
            self._standing_since = self._now()

    def taken(self, waiting: int) -> None:
        """A thread has taken work and left ``waiting`` pieces behind."""
        now = self._now()
        since = self._standing_since
        if since is not None:
            gap = max(now - max(self._taken_at, since), 0.0)
            self._gap += (gap - self._gap) * (_SMOOTHING if self._gap else 1)
        self._taken_at = now
        if not waiting:
            self._standing_since = None

    def _stands(self, waiting: int) -> bool:
        since = self._standing_since
        if since is None:
            return False
        now = self._now()
        if now - since < self.patience_seconds * _BURST:
            return False
        # The forecast knows nothing of a queue that has stopped moving.
        stopped = now - max(self._taken_at, since)
        return max(waiting * self._gap, stopped) > self.patience_seconds
