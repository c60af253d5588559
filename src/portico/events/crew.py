"""Reacting to several events at a time, those of one line one after the other."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from portico.events.outbox import Record

    Item = TypeVar("Item")


class Crew:
    """Threads that help those who deliver.

    Reactions mostly wait for their commits, and commits at the same moment share one write to the disk.
    """

    def __init__(self, size: int) -> None:
        """``size`` work at a time, of which the one who asks is one; each takes a connection."""
        self._size = size
        self._helpers = self._recruit()

    def run(self, lines: Iterable[list[Item]], work: Callable[[Item], bool]) -> None:
        """Do ``work`` on every item, in the order of each line, until it answers False for one of the line.

        Returns when nobody works any more. Who asks never waits for a helper to begin.
        """
        left = deque(lines)

        def toil() -> None:
            while left:
                try:
                    line = left.popleft()
                except IndexError:  # somebody else was quicker
                    return
                for item in line:
                    if not work(item):
                        break

        helping = [self._helpers.submit(toil) for _ in range(min(self._size, len(left)) - 1)]
        try:
            toil()
        finally:
            left.clear()
            for each in helping:
                if not each.cancel():
                    each.result()

    def close(self) -> None:
        """End the threads, after what they do; others are there when they are needed again."""
        helpers, self._helpers = self._helpers, self._recruit()
        helpers.shutdown()

    def _recruit(self) -> ThreadPoolExecutor:
        # Threads begin with the first work.
        return ThreadPoolExecutor(max(self._size - 1, 1), thread_name_prefix="portico-reaction")


def lines_of(records: Iterable[Record]) -> list[list[Record]]:
    """The records, those of each line together and in their order."""
    found: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        found.setdefault(record.line, []).append(record)
    return list(found.values())
