"""A trace as a tree; two of them side by side, and whether they are the same.

The same means: names, kinds, outcomes and parents, and the order in which siblings began, except for
reactions to what one span published, which run when they can. Where a call was made, how long it took
and in which process are shown and not compared: that is what a placement may change.
"""

from __future__ import annotations

import sys
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import TYPE_CHECKING

from portico.lab.trace_tree import Shape, Span, chosen, flat, read, trees

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Rows = Sequence[tuple[Shape, Span]]
    Pair = tuple[tuple[Shape, Span] | None, tuple[Shape, Span] | None]

_SAME, _OTHER = " ", "≠"
_NAME_WIDTH = 54
_LONGEST = 53


def main(first: Path, second: Path | None = None, *, trace_id: str = "", name: str = "") -> int:
    """Print the trace in ``first``, beside the one in ``second`` if there is one.

    Each is a file or a folder of spans. ``name`` is part of the name of the span at the top, such as
    ``POST /v1/orders``; of several such traces the last is taken. Answers the exit code: 1 when the two
    differ, 2 when there is no such trace.
    """
    try:
        left = _rows(first, trace_id=trace_id, name=name)
        right = None if second is None else _rows(second, trace_id="", name=name)
    except (OSError, LookupError, ValueError) as failure:
        print(f"portico: {failure}", file=sys.stderr)
        return 2
    if second is None or right is None:
        for row in left:
            print(_told(row))
        print(f"{len(left)} spans in {_processes(left)}")
        return 0
    pairs = list(aligned(left, right))
    width = max(len(_told(row)) for row in left)
    print(f"{_SAME} {first.name:<{width}} | {second.name}")
    for one, other in pairs:
        mark = _SAME if one and other and one[0] == other[0] else _OTHER
        print(f"{mark} {_told(one):<{width}} | {_told(other)}")
    different = sum(not (one and other and one[0] == other[0]) for one, other in pairs)
    print(f"{len(left)} spans in {_processes(left)} | {len(right)} spans in {_processes(right)}")
    print("the same tree" if not different else f"not the same tree: {different} rows differ")
    return 1 if different else 0


def aligned(left: Rows, right: Rows) -> Iterator[Pair]:
    """Rows of two trees beside each other; what only one has stands beside None."""
    matcher = SequenceMatcher(
        None, [shape for shape, _ in left], [shape for shape, _ in right], autojunk=False
    )
    for _, from_left, to_left, from_right, to_right in matcher.get_opcodes():
        yield from zip_longest(left[from_left:to_left], right[from_right:to_right])


def _rows(path: Path, *, trace_id: str, name: str) -> list[tuple[Shape, Span]]:
    return list(flat(chosen(trees(read(path)), trace_id=trace_id, name=name)))


def _told(row: tuple[Shape, Span] | None) -> str:
    if row is None:
        return ""
    shape, span = row
    name = "  " * shape.depth + _short(span)
    failed = " failed" if span.status == "ERROR" else ""
    where = span.attributes.get("portico.placement", "")
    told = f"{name[:_LONGEST]:<{_NAME_WIDTH}}{span.kind.lower() + failed:<16}"
    return f"{told}{span.milliseconds:>8.2f} ms  {span.process:<10} {where}".rstrip()


def _short(span: Span) -> str:
    """``OrdersService/PlaceOrder`` for the whole path of a method."""
    return span.name.rpartition(".")[2] if "rpc.system" in span.attributes else span.name


def _processes(rows: Rows) -> str:
    names = sorted({span.process for _, span in rows})
    return f"{len(names)} process{'es' if len(names) > 1 else ''} ({', '.join(names)})"
