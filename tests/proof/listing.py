"""What the proof of the two strategies prints."""

from __future__ import annotations

from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING

from tests.proof.leftovers import MARKS

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tests.proof.refusals import Tried
    from tests.proof.run_log import Entry
    from tests.proof.sql_log import Work

_WIDTH = 38
_LINE = 120
_FRAME = ("BEGIN", "COMMIT", "ROLLBACK")


def together(works: Sequence[Work], writers: Collection[int]) -> Iterator[str]:
    """The order in the monolith. ``writers`` are the transactions that its rows bear."""
    yield "monolith: what Postgres logged of the order, by step"
    for work in works:
        yield from _statements(work)
    yield _written(writers)


def apart(
    works: Sequence[Work],
    entries: Mapping[int, Entry],
    writers: Collection[int],
    steps: Sequence[str],
) -> Iterator[str]:
    """The order where each module has a process, and what the log says after each transaction."""
    yield "apart: the same order, by process; and its entry in orders.workflow_runs"
    for work in works:
        place = f"{steps.index(work.step) + 1} {work.step}" if work.step in steps else "before it"
        yield f"  {place}: process {work.process}, for {work.method}"
        yield from _statements(work)
        if work.xid in entries:
            entry = entries[work.xid]
            yield f"    log: {entry.step} of {len(steps)} steps done, {entry.direction}, {entry.status}"
    yield _written(writers)


def run(inspected: str) -> Iterator[str]:
    """What ``portico workflow inspect`` says of it."""
    yield "apart: portico workflow inspect RUN, afterwards"
    yield from wrap(inspected, _LINE, initial_indent="  ", subsequent_indent="  ")


def undone(runs: Sequence[Sequence[Entry]]) -> Iterator[str]:
    """The entries of runs that were taken back: how many steps are still done, and which way it goes."""
    yield "the log of the runs that were undone"
    for entries in runs:
        told = [f"{each.step} {each.direction} {each.status}" for each in entries]
        yield f"  {' -> '.join(told)}"


def refusals(tried: Mapping[str, Sequence[Tried]]) -> Iterator[str]:
    """One line for each step that was made to fail."""
    yield "each step made to fail: all rows of all tables, before and after"
    for topology, several in tried.items():
        yield f"  {topology}"
        for each in several:
            left = ", ".join(f"{name} {count}" for name, count in each.difference.left.items())
            undone = f"undone: {', '.join(each.undone)}" if each.undone else ""
            yield (
                f"    {each.refusal.step:8}  {each.refusal.what:28}  {each.answer.reason:24}"
                f"  {each.rows_before:>3} -> {each.rows_after - each.difference.marks.total():>3}"
                f" + {each.difference.marks.total():>2} marks"
                f"  {undone}{f'  LEFT BEHIND: {left}' if left else ''}".rstrip()
            )


def marks(counted: Counter[str]) -> Iterator[str]:
    """Which rows those were, and why they stay."""
    yield "the marks, all of them apart: what was undone, and says so"
    for table, count in sorted(counted.items()):
        yield f"  {count:>3}  {table:29}  {MARKS[table].why}"


def _statements(work: Work) -> Iterator[str]:
    for statement in work.statements:
        words = statement.words
        short = words if len(words) <= _WIDTH else f"{words[: _WIDTH - 1].rstrip()}…"
        step = "" if words.startswith(_FRAME) else statement.step
        written = f"  -> {_tables(statement.writes)}" if statement.writes else ""
        yield f"    {step:8}  {short:{_WIDTH}}{written}".rstrip()


def _written(writers: Collection[int]) -> str:
    ids = ", ".join(str(each) for each in sorted(writers))
    return f"  transactions that the rows of order, stock and payment bear (xmin): {ids}"


def _tables(names: Sequence[str]) -> str:
    """As in ``orders.(orders, requests), payments.payments``."""
    split = [name.partition(".") for name in names]
    told = []
    for schema, several in groupby(split, key=lambda each: each[0]):
        tables = [table for _, _, table in several]
        named = ", ".join(tables)
        told.append(f"{schema}.({named})" if len(tables) > 1 else f"{schema}.{named}")
    return ", ".join(told)
