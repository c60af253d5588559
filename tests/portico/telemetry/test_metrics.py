from __future__ import annotations

import sys
from collections.abc import Iterator
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from portico.telemetry.metrics import BUCKETS, MethodMetrics, Metrics

LABELS = {"module": "orders", "method": "GetOrder", "caller": "", "transport": "local"}


def place(metrics: Metrics) -> MethodMetrics:
    return metrics.method(module="orders", method="GetOrder", caller="", transport="local")


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, _ = metrics.render()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


@pytest.fixture
def eager_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_calls_are_counted_by_outcome() -> None:
    metrics = Metrics()
    for code in (0, 0, 5):
        place(metrics).observe(code, 0.001)
    assert value(metrics, "portico_calls_total", **LABELS, code="OK") == 2
    assert value(metrics, "portico_calls_total", **LABELS, code="NOT_FOUND") == 1


def test_a_method_is_there_before_its_first_call() -> None:
    metrics = Metrics()
    place(metrics)
    assert value(metrics, "portico_calls_total", **LABELS, code="OK") == 0
    assert value(metrics, "portico_call_seconds_count", **LABELS) == 0


def test_every_status_code_has_a_place() -> None:
    metrics = Metrics()
    for code in range(17):
        place(metrics).observe(code, 0.0)
    assert sum(place(metrics).counts().values()) == len(place(metrics).counts()) == 17
    assert place(metrics).counts()["UNAUTHENTICATED"] == 1  # the last of them, 16


@given(st.lists(st.floats(min_value=0, max_value=100), max_size=50))
def test_the_histogram_agrees_with_counting_by_hand(durations: list[float]) -> None:
    metrics = Metrics()
    series = place(metrics)
    for seconds in durations:
        series.observe(0, seconds)
    for bound in BUCKETS:
        expected = sum(seconds <= bound for seconds in durations)
        assert value(metrics, "portico_call_seconds_bucket", **LABELS, le=str(bound)) == expected
    assert value(metrics, "portico_call_seconds_bucket", **LABELS, le="+Inf") == len(durations)
    assert value(metrics, "portico_call_seconds_sum", **LABELS) == pytest.approx(sum(durations))


def test_buckets_grow_from_ten_microseconds_to_ten_seconds() -> None:
    assert (BUCKETS[0], BUCKETS[-1]) == (0.00001, 10.0)
    assert list(BUCKETS) == sorted(set(BUCKETS))


@pytest.mark.usefixtures("eager_threads")
def test_no_call_is_lost_between_threads() -> None:
    series, start = place(Metrics()), Barrier(4)

    def observe() -> None:
        start.wait()
        for _ in range(50_000):
            series.observe(0, 1.0)

    threads = [Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert series.counts() == {"OK": 200_000}
    assert dict(series.cumulated())["+Inf"] == 200_000
    assert series.seconds == 200_000.0


def test_the_same_method_is_the_same_series() -> None:
    metrics = Metrics()
    assert place(metrics) is place(metrics)
    assert place(metrics) is not place(Metrics())
    other = metrics.method(module="orders", method="GetOrder", caller="shop", transport="local")
    assert place(metrics) is not other


class TestGauges:
    def test_a_gauge_is_read_at_each_scrape(self) -> None:
        metrics, numbers = Metrics(), [1.0, 2.0]
        metrics.gauge("portico_pool_in_use", "Connections in use.", numbers.pop, pool="main")
        assert value(metrics, "portico_pool_in_use", pool="main") == 2
        assert value(metrics, "portico_pool_in_use", pool="main") == 1

    def test_one_name_has_many_series(self) -> None:
        metrics = Metrics()
        metrics.counter("portico_events", "Delivered.", lambda: 3, module="a", outcome="ok")
        metrics.counter("portico_events", "Delivered.", lambda: 4, outcome="dead", module="b")
        assert value(metrics, "portico_events_total", module="a", outcome="ok") == 3
        assert value(metrics, "portico_events_total", module="b", outcome="dead") == 4

    def test_a_source_that_fails_does_not_take_the_scrape_with_it(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        metrics = Metrics()
        metrics.gauge("portico_lag", "Lag.", lambda: 1 / 0, module="a")
        metrics.gauge("portico_lag", "Lag.", lambda: 7, module="b")
        assert value(metrics, "portico_lag", module="b") == 7
        assert ("portico_lag", frozenset({("module", "a")})) not in samples(metrics)
        assert "ZeroDivisionError" in capfd.readouterr().err

    def test_the_same_series_twice_is_refused(self) -> None:
        metrics = Metrics()
        metrics.gauge("portico_lag", "Lag.", lambda: 1, module="a")
        with pytest.raises(ValueError, match="exists with labels"):
            metrics.gauge("portico_lag", "Lag.", lambda: 2, module="a")

    def test_one_name_with_other_labels_or_of_another_kind_is_refused(self) -> None:
        metrics = Metrics()
        metrics.gauge("portico_lag", "Lag.", lambda: 1, module="a")
        with pytest.raises(ValueError, match="other labels"):
            metrics.gauge("portico_lag", "Lag.", lambda: 2, queue="a")
        with pytest.raises(ValueError, match="another kind"):
            metrics.counter("portico_lag", "Lag.", lambda: 2, module="a")


def test_the_answer_names_its_format() -> None:
    body, content_type = Metrics().render()
    assert content_type.startswith("text/plain; version=")
    assert b"process_resident_memory_bytes" in body
