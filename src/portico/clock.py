"""The time of day, asked of an object, so that a test can set it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time. For measuring how long something took, use ``time.monotonic``."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """Start at ``start``; a datetime without a zone is refused, because nobody knows which was meant."""
        if start.tzinfo is None:
            raise ValueError(f"a clock needs a time with a zone, not {start!r}")
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """The time it was set to, aware, in UTC."""
        return self._now

    def advance(self, *, seconds: float) -> None:
        """Move forward by ``seconds``. Time does not run backwards: a negative number is refused."""
        if seconds < 0:
            raise ValueError(f"a clock advances; {seconds} seconds would set it back")
        self._now += timedelta(seconds=seconds)
