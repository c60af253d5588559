"""Prometheus metrics: calls per module, method, caller, transport and outcome, and gauges by callback."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import grpc
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from portico.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# Upper bounds in seconds, three to a decade: a local call takes microseconds, a slow one seconds.
# fmt: off
BUCKETS = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)
# fmt: on
_FIRST_BUCKET = BUCKETS[0]
_BOUNDS = [*map(str, BUCKETS), "+Inf"]
_CODES = [code.name for code in sorted(grpc.StatusCode, key=lambda code: code.value[0])]
_LABELS = ("module", "method", "caller", "transport")
_HOP_LABELS = ("target", "method", "caller")

_log = logger(__name__)


class MethodMetrics:
    """The calls of one method by one caller over one transport; ask ``Metrics.method`` for it.

    ``observe`` takes no lock. Under the GIL CPython changes threads only where a function is entered,
    where a call returns and where a loop jumps back. None of these lies between the read and the
    write of one ``+= 1`` here, so no increment is lost. A test drives it from several threads and
    would fail on a build where this is not so. A scrape may see a call in one series and not yet in
    the other; the next one sees it in both.
    """

    __slots__ = ("_by_bucket", "_by_code", "caller", "method", "module", "seconds", "transport")

    def __init__(self, *, module: str, method: str, caller: str, transport: str) -> None:
        self.module = module
        self.method = method
        self.caller = caller
        self.transport = transport
        self._by_code = [0] * len(_CODES)
        self._by_bucket = [0] * len(_BOUNDS)
        self.seconds = 0.0
        """Durations of all finished calls together."""

    def observe(self, code: int, seconds: float) -> None:
        """Record one finished call: its gRPC status code as an integer (0 to 16) and its duration."""
        # Most local calls belong to the first bucket: a question is cheaper than a search.
        bucket = 0 if seconds <= _FIRST_BUCKET else bisect_left(BUCKETS, seconds)
        self._by_bucket[bucket] += 1
        self._by_code[code] += 1
        self.seconds += seconds

    def counts(self) -> dict[str, int]:
        """Finished calls by the name of their code; OK always, the others once they occurred."""
        return {
            name: count
            for name, count in zip(_CODES, self._by_code, strict=True)
            if count or name == "OK"
        }

    def cumulated(self) -> list[tuple[str, float]]:
        """Finished calls that took no longer than each upper bound, as a histogram wants them."""
        return [*zip(_BOUNDS, accumulate(self._by_bucket), strict=True)]


class Metrics:
    """Everything that one program measures. Several can live in one process, as tests need it."""

    def __init__(self) -> None:
        self._methods: dict[tuple[str, ...], MethodMetrics] = {}
        self._hops: dict[tuple[str, ...], MethodMetrics] = {}
        self._readings: dict[str, _Reading] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Calls("portico_call", "finished calls", _LABELS, self._methods))
        self._registry.register(
            _Calls("portico_hop", "calls to another process", _HOP_LABELS, self._hops)
        )
        self._registry.register(_Readings(self._readings))
        ProcessCollector(registry=self._registry)

    def method(self, *, module: str, method: str, caller: str, transport: str) -> MethodMetrics:
        """The series of one method for one caller over one transport; the same object every time.

        ``caller`` is empty for calls from outside; ``transport`` is ``local`` or ``remote``.
        """
        key = (module, method, caller, transport)
        return self._methods.setdefault(
            key, MethodMetrics(module=module, method=method, caller=caller, transport=transport)
        )

    def hop(self, method: str, *, target: str, caller: str) -> MethodMetrics:
        """The series of the calls that ``caller`` makes of one method in another process, ``target``.

        Counted where they are made: with the time on the way, and with the calls that never arrive.
        """
        key = (target, method, caller)
        return self._hops.setdefault(
            key, MethodMetrics(module=target, method=method, caller=caller, transport="remote")
        )

    def gauge(self, name: str, meaning: str, read: Callable[[], float], **labels: str) -> None:
        """Publish what ``read`` answers at each scrape, such as the connections in use of a pool.

        Call it again with other labels for a further series. Raises ValueError when the same series
        exists, or the name with other label names.
        """
        self._add(GaugeMetricFamily, name, meaning, read, labels)

    def counter(self, name: str, meaning: str, read: Callable[[], float], **labels: str) -> None:
        """As ``gauge``, for a number that only grows; ``name`` is without ``_total``, which is added."""
        self._add(CounterMetricFamily, name, meaning, read, labels)

    def collect(self) -> Iterable[Metric]:
        """Everything as it is now, for whoever puts it together with other programs' metrics."""
        return self._registry.collect()

    def render(self) -> tuple[bytes, str]:
        """The answer to a scrape: body and content type, in Prometheus' text format."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _add(
        self,
        family: _Family,
        name: str,
        meaning: str,
        read: Callable[[], float],
        labels: Mapping[str, str],
    ) -> None:
        reading = self._readings.setdefault(name, _Reading(family, meaning, tuple(labels), {}))
        if reading.family is not family or set(reading.labels) != set(labels):
            raise ValueError(
                f"{name} exists with another kind or other labels: {', '.join(reading.labels) or 'none'}"
            )
        values = tuple(labels[label] for label in reading.labels)
        if values in reading.sources:
            raise ValueError(f"{name} exists with labels {dict(labels)}")
        reading.sources[values] = read


_Family = type[GaugeMetricFamily] | type[CounterMetricFamily]


class _Reading(NamedTuple):
    family: _Family
    meaning: str
    labels: tuple[str, ...]
    sources: dict[tuple[str, ...], Callable[[], float]]


class _Calls(Collector):
    """Counters and histograms called after ``name``, whose series are the keys of ``methods``."""

    def __init__(
        self,
        name: str,
        what: str,
        labels: tuple[str, ...],
        methods: Mapping[tuple[str, ...], MethodMetrics],
    ) -> None:
        self._name = name
        self._what = what
        self._labels = labels
        self._methods = methods

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            f"{self._name}s",
            f"{self._what.capitalize()} by gRPC status code.",
            labels=(*self._labels, "code"),
        )
        seconds = HistogramMetricFamily(
            f"{self._name}_seconds", f"Duration of {self._what}.", labels=self._labels
        )
        for key, method in [*self._methods.items()]:
            for code, count in method.counts().items():
                calls.add_metric((*key, code), count)
            seconds.add_metric(key, method.cumulated(), method.seconds)
        yield calls
        yield seconds


class _Readings(Collector):
    def __init__(self, readings: Mapping[str, _Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        for name, reading in [*self._readings.items()]:
            family = reading.family(name, reading.meaning, labels=reading.labels)
            for values, read in [*reading.sources.items()]:
                try:
                    family.add_metric(values, read())
                except Exception:  # noqa: BLE001  # one that fails must not take the whole scrape with it
                    _log.exception("a metric could not be read", metric=name)
            yield family
