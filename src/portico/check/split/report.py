"""What a move would do to an application: what is parted, which workflows become sagas, what would break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.check.split.finding import is_command, rpc_name
from portico.workflow.definition import Wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from portico.check.split.entries import Stage
    from portico.check.split.finding import Finding
    from portico.check.split.move import Move
    from portico.check.split.saga import Saga
    from portico.check.split.walk import Sighting


@dataclass(frozen=True, kw_only=True)
class Report:
    """``calls`` are those between modules that are parted; ``unchanged`` the workflows that run as before."""

    move: Move
    calls: Sequence[Sighting]
    sagas: Sequence[Saga]
    unchanged: Sequence[str]
    events: Sequence[tuple[str, str, str]]
    findings: Sequence[Finding]

    @property
    def errors(self) -> int:
        """How many things would break or lose atomicity."""
        return sum(finding.severity == "error" for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """For a person to read: a summary, then a line for each finding, then the verdict."""
        yield f"{self.move.module} moves from the process {self.move.source} to {self.move.target}"
        yield from _section("calls that go over the network from now on", self._remote())
        yield from _section("calls that stay in the process from now on", self._local())
        yield from _section(
            "events that go from process to process, once in effect by the inbox", self._crossing()
        )
        yield from _section("workflows", self._workflows())
        if self.findings:
            yield ""
            yield from map(str, self.findings)
        yield ""
        yield self._verdict()

    def _remote(self) -> Iterator[str]:
        for caller, callee in self.move.parted:
            paths = sorted({each.path for each in self.calls if _ends(each) == (caller, callee)})
            edge = self.move.after.edge(caller, callee)
            limit = (
                f'no timeout_ms at edges."{caller} -> {callee}"'
                if edge.timeout_ms is None
                else f"{edge.timeout_ms} ms at the most"
            )
            yield f"{caller} -> {callee}: {', '.join(map(_kind, paths)) or 'none was found'}; {limit}"

    def _local(self) -> Iterator[str]:
        yield from (f"{caller} -> {callee}" for caller, callee in self.move.united)

    def _crossing(self) -> Iterator[str]:
        by_ends: dict[tuple[str, str], list[str]] = {}
        for publisher, reactor, event in self.events:
            by_ends.setdefault((publisher, reactor), []).append(event)
        for (publisher, reactor), events in by_ends.items():
            yield f"{publisher} -> {reactor}: {', '.join(events)}"

    def _workflows(self) -> Iterator[str]:
        for saga in self.sagas:
            before = "one transaction" if saga.was_together else "a saga"
            parts = [_count(sum(saga.after.is_remote), "call")]
            if saga.transactions:
                parts.insert(0, _count(saga.transactions, "own transaction"))
            yield f"{saga.name}: {before} becomes a saga of {' and '.join(parts)}"
            steps = [stage for stage in saga.stages if not stage.is_undo]
            width = max(len(stage.step.name) for stage in steps)
            yield from (f"  {stage.step.name:{width}}  {_told(saga, stage)}" for stage in steps)
        yield from self.unchanged

    def _verdict(self) -> str:
        notes = len(self.findings) - self.errors
        counted = f"{_count(self.errors, 'error')}, {_count(notes, 'note')}"
        if self.errors:
            return f"{self.move.module} cannot move yet: {counted}"
        return f"{self.move.module} can move: {counted}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in found)


def _told(saga: Saga, stage: Stage) -> str:
    step, callee = stage.step, saga.callees[stage.place]
    if isinstance(step, Wait):
        return f"waits {step.seconds:g} s at the most"
    if stage.is_remote:
        place = f"over the network to {callee}"
    elif callee:
        place = f"in the process, at {callee}"
    else:
        place = "own"
    traits = [
        *(["only asks"] if step.query else []),
        *(["no way back after it"] if step.pivot else []),
        *([f"undo {_name(step.undo)}"] if step.undo is not None else []),
    ]
    if saga.after.is_past_pivot(stage.place):
        traits.append("forward only")
    elif not traits:
        is_last = stage.place == len(saga.after.steps) - 1
        traits.append("the last one" if is_last else "no undo")
    return ", ".join([place, *traits])


def _name(undo: object) -> str:
    return str(getattr(undo, "__name__", "given"))


def _ends(call: Sighting) -> tuple[str, str]:
    return call.module, call.callee


def _kind(path: str) -> str:
    return rpc_name(path) if is_command(path) else f"{rpc_name(path)} (query)"


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
