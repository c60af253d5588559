"""Which module calls which, how often and how fast, from live metrics: a graph for mermaid."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.samples import Sample

_OUTSIDE = "outside"
_KERNEL = "/portico.v1."
# A refusal that the contract provides for (NOT_FOUND, FAILED_PRECONDITION, ...) is an answer.
_FAILURES = frozenset(
    {
        *("UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"),
        *("INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    }
)


class Edge(NamedTuple):
    """The calls of one module to another. ``caller`` is empty for the world outside."""

    caller: str
    module: str
    remote: bool


@dataclass
class Traffic:
    """What went over an edge."""

    calls: float = 0
    failed: float = 0
    """Calls that failed, other than by a refusal that belongs to the contract."""
    up_to: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    """Calls that took no longer than so many seconds."""

    def quantile(self, share: float) -> float:
        """The seconds within which this share of the calls ended, interpolated inside a bucket.

        0 without calls; the largest bound that is known for those beyond it.
        """
        bounds = sorted(self.up_to)
        counts = [self.up_to[bound] for bound in bounds]
        if not counts or not counts[-1]:
            return 0.0
        rank = share * counts[-1]
        place = bisect_left(counts, rank)
        below = bounds[place - 1] if place else 0.0
        if bounds[place] == inf:
            return below
        before = counts[place - 1] if place else 0.0
        inside = counts[place] - before
        return below + (bounds[place] - below) * ((rank - before) / inside if inside else 1.0)


def mermaid(scrapes: Iterable[str]) -> str:
    """A ``flowchart LR`` of the calls that ``scrapes`` tell of: answers of ``/metrics``, one per process.

    An edge has the number of calls, the share that failed, p50 and p99; it is dashed where the calls
    go to another process. Raises ValueError for what is not in Prometheus' text format.
    """
    found = {edge: traffic for edge, traffic in traffic_of(scrapes).items() if traffic.calls}
    names = sorted({name for edge in found for name in (edge.caller, edge.module)})
    lines = ["flowchart LR"]
    lines += [
        f'    {_node(name)}["{name}"]' if name else "    outside([outside])" for name in names
    ]
    for edge, traffic in sorted(found.items()):
        arrow = "-.->" if edge.remote else "-->"
        told = _told(traffic)
        lines.append(f'    {_node(edge.caller)} {arrow}|"{told}"| {_node(edge.module)}')
    return "\n".join(lines) + "\n"


def traffic_of(scrapes: Iterable[str]) -> dict[Edge, Traffic]:
    """What went over each edge.

    A call to another process is counted at both ends. Where its caller's end is known, that is what
    counts: it knows of calls that never arrive, and of the time on the way.
    """
    samples = [sample for scrape in scrapes for sample in _samples(scrape)]
    modules = {
        sample.labels["method"]: sample.labels["module"]
        for sample in samples
        if sample.name == "portico_calls_total"
    }
    served: dict[Edge, Traffic] = defaultdict(Traffic)
    sent: dict[Edge, Traffic] = defaultdict(Traffic)
    for sample in samples:
        labels = sample.labels
        method, caller = labels["method"], labels["caller"]
        if sample.name.startswith("portico_call"):
            edge = Edge(caller, labels["module"], labels["transport"] == "remote")
            _count(served[edge], sample)
        else:
            module = modules.get(method) or _likely_module(method)
            _count(sent[Edge(caller, module, remote=True)], sample)
    return {**served, **{edge: traffic for edge, traffic in sent.items() if traffic.calls}}


def _samples(scrape: str) -> Iterator[Sample]:
    names = ("portico_calls", "portico_call_seconds", "portico_hops", "portico_hop_seconds")
    for family in text_string_to_metric_families(scrape):
        if family.name in names:
            for sample in family.samples:
                if not sample.labels["method"].startswith(_KERNEL):
                    yield sample


def _count(traffic: Traffic, sample: Sample) -> None:
    if sample.name.endswith("_total"):
        traffic.calls += sample.value
        if sample.labels["code"] in _FAILURES:
            traffic.failed += sample.value
    elif sample.name.endswith("_bucket"):
        traffic.up_to[float(sample.labels["le"])] += sample.value


def _likely_module(method: str) -> str:
    """Of a method that nobody serves at the moment: ``/commerce.payments.v1.PaymentsService/Charge``."""
    parts = method.strip("/").partition("/")[0].split(".")
    return next((part for part in reversed(parts[:-1]) if not _is_version(part)), parts[-1])


def _is_version(part: str) -> bool:
    return part[:1] == "v" and part[1:2].isdigit()


def _node(name: str) -> str:
    """Some words, such as end, mean something to mermaid."""
    return f"m_{name}" if name else _OUTSIDE


def _told(traffic: Traffic) -> str:
    failed = 100 * traffic.failed / traffic.calls
    p50, p99 = (_milliseconds(traffic.quantile(share)) for share in (0.5, 0.99))
    return f"{traffic.calls:.0f} calls, {failed:.3g} % failed, p50 {p50}, p99 {p99}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
