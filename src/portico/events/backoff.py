"""How long to wait before trying again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from random import Random


class Backoff(NamedTuple):
    """Twice as long each time, and by chance up to half shorter, so that failures do not march in step."""

    first_seconds: float
    longest_seconds: float
    random: Random

    def after(self, failures: int) -> timedelta:
        """The time to wait after so many failures in a row, 1 or more."""
        doubled = self.first_seconds * 2.0 ** min(failures - 1, 30)
        return timedelta(seconds=min(doubled, self.longest_seconds) * self.random.uniform(0.5, 1.0))
