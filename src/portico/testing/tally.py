"""A table of counts that grows while cases are run, and what it says in the end."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BETWEEN = "  "


class Tally:
    """Cases and violations by row and column. Any thread may add."""

    def __init__(self, columns: Sequence[str]) -> None:
        """``columns`` in their order."""
        self._columns = tuple(columns)
        self._lock = threading.Lock()
        self._cases: Counter[tuple[str, str]] = Counter()
        self._violations: Counter[tuple[str, str]] = Counter()

    @property
    def cases(self) -> int:
        """How many there were."""
        return self._cases.total()

    @property
    def violations(self) -> int:
        """How many of the cases went wrong."""
        return self._violations.total()

    def add(self, row: str, column: str, *, violated: bool) -> None:
        """Count a case. KeyError for a column that there is not."""
        if column not in self._columns:
            raise KeyError(column)
        with self._lock:
            self._cases[row, column] += 1
            self._violations[row, column] += violated

    def lines(self) -> list[str]:
        """The table: rows in alphabetical order, each column as wide as it needs."""
        rows = sorted({row for row, _ in self._cases})
        table = [["", *self._columns]]
        table += [[row, *(self._cell(row, column) for column in self._columns)] for row in rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return [
            _BETWEEN.join(
                cell.ljust(width) if number == 0 else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in table
        ]

    def _cell(self, row: str, column: str) -> str:
        cases, violations = self._cases[row, column], self._violations[row, column]
        if not cases:
            return "-"
        return f"{cases} ({violations} violated)" if violations else str(cases)
