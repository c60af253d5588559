"""The parity of the transports as a score: ``python -m portico.testing.score MODULE``.

``MODULE`` has the table, a ``portico.testing.cases.Table`` by the name of ``TABLE``. Ends in the line
``parity: N cases, M transports, D differences`` and in the exit code 1 if D is not 0, or if a case did
not run over a transport and does not say why.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING

from portico.telemetry import logs
from portico.testing.running import Runner
from portico.testing.transports import TRANSPORTS, YARDSTICKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from portico.testing.cases import Table
    from portico.testing.running import Result
    from portico.testing.transports import Transport

_NONE = "-"
_YARDSTICKS: dict[Transport, str] = {
    "plain": "with grpcio on both sides",
    "raw": "for a client of grpcio's, of the kernel's server",
    "front": "for such a client through a front, which hands calls on to another process",
}


class Score:
    """The results of a table."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.results = tuple(results)
        self.differing = [
            (result, name)
            for result in self.results
            for name in (*YARDSTICKS, *TRANSPORTS)
            if any(each.transport == name for each in result.differences)
        ]
        """Each case with each transport over which its outcome is another."""
        self.missing = [
            f"{result.case} did not run over {name}"
            for result in self.results
            for name in result.missing
        ]

    @property
    def perfect(self) -> bool:
        """Whether nothing differs and nothing is missing."""
        return not (self.differing or self.missing)

    def lines(self) -> Iterator[str]:
        """The table, what it leaves out and why, every difference, and the last line."""
        yield from _columns([("", *TRANSPORTS), *self._rows()])
        yield ""
        yield from self._yardsticks()
        yield from self._exceptions()
        for result, name in self.differing:
            yield ""
            yield f"{result.case}"
            yield from (f"  {each}" for each in result.differences if each.transport == name)
        yield from ("", *self.missing) if self.missing else ()
        yield ""
        yield (
            f"parity: {len(self.results)} cases, {len(TRANSPORTS)} transports,"
            f" {len(self.differing)} differences"
        )

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for group in dict.fromkeys(result.case.group.name for result in self.results):
            of_group = [result for result in self.results if result.case.group.name == group]
            yield (group, *(self._cell(of_group, name) for name in TRANSPORTS))

    def _cell(self, results: Sequence[Result], transport: Transport) -> str:
        meant = [result for result in results if not result.case.without.get(transport)]
        equal = [
            result
            for result in meant
            if transport not in result.missing and (result, transport) not in self.differing
        ]
        return f"{len(equal)}/{len(meant)}" if meant else _NONE

    def _yardsticks(self) -> Iterator[str]:
        for name, what in _YARDSTICKS.items():
            yield f"{self._cell(self.results, name)} the same as {what}"

    def _exceptions(self) -> Iterator[str]:
        """How many cases run not over which transport, by reason."""
        reasons = Counter(
            (name, result.case.without[name])
            for name in (*TRANSPORTS, *YARDSTICKS)
            for result in self.results
            if result.case.without.get(name)
        )
        if reasons:
            yield ""
        for (name, reason), number in reasons.items():
            yield f"{_NONE} {name}, {number} of {len(self.results)}: {reason}"


def run(table: Table, *, plant: str = "") -> Score:
    """Run every case over its transports."""
    with Runner(plant=plant) as runner:
        return Score(runner.run_all(table))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a table, print its score; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m portico.testing.score", description=__doc__)
    parser.add_argument("module", help="where TABLE is, such as tests.placement.table")
    parser.add_argument("--plant", choices=TRANSPORTS, default="", help="lose a trailer there")
    chosen = parser.parse_args(arguments)
    table: Table = importlib.import_module(chosen.module).TABLE
    _be_quiet()
    score = run(table, plant=chosen.plant)
    sys.stdout.writelines(f"{line}\n" for line in score.lines())
    return 0 if score.perfect else 1


def _be_quiet() -> None:
    """Errors that are provoked go nowhere, those of gRPC's core included; our own still show."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(nowhere, 2)
    logs.configure(level="error", descriptor=nowhere)
    logging.disable()
    threading.excepthook = lambda _: None


def _columns(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *rest in table:
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *cells)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
