"""What a workflow with three foreign steps costs: as one transaction, and as a saga over two processes.

The workflow is ``portico.lab.travel.trips``: a step in the orchestrator's own tables, three commands to a
module that writes a row for each, and another step of its own. It is run one after the other in five ways,
which alternate, on one Postgres that waits for its disk:

- ``together``: all in one process and one transaction;
- ``apart``: the callee in a process of its own, over loopback TCP with all that such a hop has; the run is
  written to the log, in the transactions of its own steps;
- ``noting``: the same when each command's answer goes into the state, so that the log is written between
  the commands too;
- ``unlogged``: what ``apart`` does, without the log: the same transactions, commands, deadlines;
- ``calls``: the three commands alone.

So ``apart`` less ``unlogged`` is what the log costs, and ``together`` against ``apart`` what the split does.
"""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Self

from portico.lab import machine, workflow_runs
from portico.lab.travel import neighbour
from portico.lab.travel.site import TOPOLOGY, Site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from portico.lab.lab_process import LabProcess

ROUNDS = 12
"""The first of which is not counted."""
RUNS_PER_ROUND = 60
WAYS = ("together", "apart", "noting", "unlogged", "calls")
AIM_LOG_MS = 3

_PARTS = ("orchestrator", "callee", "database")


def main(json_path: Path | None) -> None:
    """Measure, print, and write the numbers to ``json_path`` if there is one."""
    found = measure()
    print(f"a workflow with three foreign steps; {found['runs']} runs of each way, alternating")
    parts = "".join(f"{part:>14}" for part in _PARTS)
    print(f"{'':<10}{'p50 ms':>8}{'p99 ms':>8}{'CPU ms a run':>15}{parts}")
    for name, told in found["ways"].items():
        cpu = told["cpu_ms"]
        print(
            f"{name:<10}{told['p50_ms']:>8.2f}{told['p99_ms']:>8.2f}{sum(cpu.values()):>15.2f}"
            + "".join(f"{cpu[part]:>14.2f}" for part in _PARTS)
        )
    over = found["apart_over_together"]
    print(
        f"apart over together: {over['latency']:.2f} times as long (p50), {over['cpu']:.2f} times the CPU"
    )
    for name, told in found["log"].items():
        print(
            f"the log of {name} adds {told['p50_ms']:.2f} ms to p50, {told['p99_ms']:.2f} ms to p99,"
            f" {told['cpu_ms']:.2f} ms of CPU (aim: {AIM_LOG_MS} ms)"
        )
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measure() -> dict[str, Any]:
    """The numbers; takes about half a minute."""
    with Site() as site, _Bench(site) as bench:
        for number in range(ROUNDS):
            shift = number % len(WAYS)  # none of them is always behind the same other one
            for way in (*WAYS[shift:], *WAYS[:shift]):
                bench.run(way, counts=number > 0)
        ways = {way: _told(bench.seconds[way], bench.cpu[way]) for way in WAYS}
    return {
        "machine": machine.described(),
        "runs": (ROUNDS - 1) * RUNS_PER_ROUND,
        "ways": ways,
        "apart_over_together": {
            "latency": ways["apart"]["p50_ms"] / ways["together"]["p50_ms"],
            "cpu": _cpu_ms(ways["apart"]) / _cpu_ms(ways["together"]),
        },
        "log": {name: _difference(ways[name], ways["unlogged"]) for name in ("apart", "noting")},
    }


class _Bench:
    """The processes that are measured, and what was measured so far."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._callee = site.process(neighbour.__name__)
        self._together = site.process(workflow_runs.__name__)
        self._apart = site.process(workflow_runs.__name__, TOPOLOGY)
        self.seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        self.cpu = {way: dict.fromkeys(_PARTS, 0.0) for way in WAYS}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for process in (self._callee, self._together, self._apart):
                stack.enter_context(process)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(self, way: str, *, counts: bool) -> None:
        """A round of runs; whether it ``counts``."""
        orchestrator: LabProcess = self._together if way == "together" else self._apart
        before = self._others_cpu()
        told = orchestrator.ask(f"{way} {RUNS_PER_ROUND}")
        if not counts:
            return
        self.seconds[way] += told["seconds"]
        took = {"orchestrator": told["cpu_seconds"]}
        took |= {part: after - before[part] for part, after in self._others_cpu().items()}
        for part, seconds in took.items():
            self.cpu[way][part] += seconds

    def _others_cpu(self) -> dict[str, float]:
        return {
            "callee": float(self._callee.ask("cpu")),
            "database": machine.children_cpu_seconds(self._site.postgres_pid),
        }


def _told(seconds: Sequence[float], cpu: dict[str, float]) -> dict[str, Any]:
    return {
        "p50_ms": median(seconds) * 1000,
        "p99_ms": _p99(seconds) * 1000,
        "cpu_ms": {part: total / len(seconds) * 1000 for part, total in cpu.items()},
    }


def _difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    return {
        "p50_ms": one["p50_ms"] - other["p50_ms"],
        "p99_ms": one["p99_ms"] - other["p99_ms"],
        "cpu_ms": _cpu_ms(one) - _cpu_ms(other),
    }


def _cpu_ms(told: dict[str, Any]) -> float:
    total: float = sum(told["cpu_ms"].values())
    return total


def _p99(seconds: Sequence[float]) -> float:
    if len(seconds) < 2:  # noqa: PLR2004  # nothing between one and itself
        return math.nan
    return quantiles(seconds, n=100)[98]
