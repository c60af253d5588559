"""A trace as a tree of spans, read from the files that ``trace_file`` asks for."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_MOST_DEPTH = 100


class Shape(NamedTuple):
    """What must be the same of a span in every placement; its parent's shape comes before it."""

    depth: int
    name: str
    kind: str
    status: str


@dataclass(slots=True)
class Span:
    """One span, with those below it in the order of their start."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    status: str
    start_ns: int
    end_ns: int
    process: str
    attributes: dict[str, object]
    below: list[Span] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e6


def read(path: Path) -> list[Span]:
    """The spans in a file, or in all files of a folder.

    OSError when there is none, ValueError when it holds something else.
    """
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"there are no spans in {path}")
    return [span for file in files for span in _read_file(file)]


def trees(spans: Iterable[Span]) -> dict[str, list[Span]]:
    """The spans that have no parent among ``spans``, by trace, in the order of their start."""
    every = sorted(spans, key=lambda span: span.start_ns)
    by_id = {span.span_id: span for span in every}
    roots: dict[str, list[Span]] = defaultdict(list)
    for span in every:
        above = by_id.get(span.parent_id)
        (roots[span.trace_id] if above is None else above.below).append(span)
    for span in every:
        span.below.sort(key=_place)
    return dict(roots)


def chosen(roots: dict[str, list[Span]], *, trace_id: str = "", name: str = "") -> list[Span]:
    """The trace whose id begins with ``trace_id``, or the last to begin with a span called ``name``.

    Part of the name will do; without either it is the last trace. LookupError when there is none.
    """
    found = [
        trace
        for known, trace in roots.items()
        if known.startswith(trace_id) and name in trace[0].name
    ]
    if not found:
        names = sorted({trace[0].name for trace in roots.values()})
        raise LookupError(
            f"there is no trace {trace_id or name}".rstrip()
            + f"; they begin with: {', '.join(names) or 'nothing, there are no spans'}"
        )
    return max(found, key=lambda trace: trace[0].start_ns)


def flat(trace: Iterable[Span], depth: int = 0) -> Iterator[tuple[Shape, Span]]:
    """Every span of a tree with its shape, from the top downwards."""
    for span in trace:
        yield Shape(depth, span.name, span.kind, span.status), span
        if depth < _MOST_DEPTH:
            yield from flat(span.below, depth + 1)


def _place(span: Span) -> tuple[bool, str, int]:
    """Reactions to what one span published run when they can: they come last, by name."""
    if span.kind == "CONSUMER":
        return True, span.name, span.start_ns
    return False, "", span.start_ns


def _read_file(path: Path) -> Iterator[Span]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            yield Span(**json.loads(line))
        except (TypeError, ValueError) as failure:
            raise ValueError(f"{path}:{number} is no span") from failure
