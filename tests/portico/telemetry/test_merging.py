"""The metrics of several workers, scraped at any of them."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from portico.telemetry.merging import SharedMetrics
from portico.telemetry.metrics import Metrics


class Worker:
    def __init__(self, folder: Path, *, patience_seconds: float = 20) -> None:
        self.metrics = Metrics()
        self.shared = SharedMetrics(self.metrics, folder, patience_seconds=patience_seconds)
        self.shared.start()

    def call(self, times: int = 1, *, seconds: float = 0.001) -> None:
        method = self.metrics.method(module="m", method="/s/M", caller="", transport="remote")
        for _ in range(times):
            method.observe(0, seconds)

    def scrape(self) -> dict[str, float]:
        """The values by name, labels in the order of their names."""
        text = self.shared.render()[0].decode()
        return {
            ",".join(
                [sample.name, *(sample.labels[key] for key in sorted(sample.labels))]
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


CALLS = "portico_calls_total,,OK,/s/M,m,remote"
COUNT = "portico_call_seconds_count,,/s/M,m,remote"
UP_TO_1_MS = "portico_call_seconds_bucket,,0.001,/s/M,m,remote"
HEARD = "portico_workers"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="portico-") as name:  # a socket's path must be short
        yield Path(name)


@pytest.fixture
def workers(folder: Path) -> Iterator[list[Worker]]:
    found = [Worker(folder) for _ in range(3)]
    yield found
    for worker in found:
        worker.shared.stop()


def test_any_worker_tells_the_sum_of_all(workers: list[Worker]) -> None:
    for times, worker in enumerate(workers, start=1):
        worker.call(times)
    workers[0].call(10, seconds=1.0)
    for worker in workers:
        scraped = worker.scrape()
        assert scraped[CALLS] == scraped[COUNT] == 16
        assert scraped[UP_TO_1_MS] == 6
        assert scraped[HEARD] == 3


def test_a_worker_alone_tells_what_it_has(folder: Path) -> None:
    worker = Worker(folder)
    worker.call(2)
    assert worker.scrape()[CALLS] == 2
    worker.shared.stop()


def test_gauges_are_added_up_but_for_those_of_which_the_largest_tells(
    workers: list[Worker],
) -> None:
    for value, worker in enumerate(workers):
        worker.metrics.gauge("things_in_use", "Things.", partial(float, value))
        worker.metrics.gauge("lag_seconds", "Lag.", partial(float, value))
    scraped = workers[0].scrape()
    assert scraped["things_in_use"] == 3
    assert scraped["lag_seconds"] == 2


def test_labels_are_kept_apart(workers: list[Worker]) -> None:
    workers[0].metrics.counter("seen", "Seen.", lambda: 1, kind="a")
    workers[1].metrics.counter("seen", "Seen.", lambda: 2, kind="b")
    workers[2].metrics.counter("seen", "Seen.", lambda: 4, kind="b")
    scraped = workers[0].scrape()
    assert (scraped["seen_total,a"], scraped["seen_total,b"]) == (1, 6)


def test_counts_of_a_worker_that_has_stopped_stay_and_its_gauges_go(workers: list[Worker]) -> None:
    for worker in workers:
        worker.call(5)
        worker.metrics.gauge("things_in_use", "Things.", lambda: 1)
    workers[2].shared.stop()
    for worker in (workers[0], workers[1], workers[0]):
        scraped = worker.scrape()
        assert scraped[CALLS] == 15
        assert scraped["things_in_use"] == 2
        assert scraped[HEARD] == 2


def test_what_was_shown_of_a_worker_that_is_killed_is_not_taken_back(folder: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from portico.telemetry.metrics import Metrics
from portico.telemetry.merging import SharedMetrics
metrics = Metrics()
metrics.counter("seen", "Seen.", lambda: 7)
SharedMetrics(metrics, Path({str(folder)!r})).start()
sys.stdout.write("ready\\n")
sys.stdout.flush()
time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    worker = Worker(folder)
    assert worker.scrape()["seen_total"] == 7
    child.kill()
    child.communicate()
    for _ in range(2):
        scraped = worker.scrape()
        assert scraped["seen_total"] == 7
        assert scraped[HEARD] == 1
    worker.shared.stop()


def test_the_ended_ones_become_one_file(workers: list[Worker], folder: Path) -> None:
    for worker in workers:
        worker.call()
    workers[1].shared.stop()
    workers[2].shared.stop()
    assert workers[0].scrape()[CALLS] == 3
    kept = {path.name for path in folder.glob("*.json")}
    assert len(kept) == 2
    assert "ended.json" in kept
    workers[0].shared.stop()
    newcomer = Worker(folder)
    assert newcomer.scrape()[CALLS] == 3
    newcomer.shared.stop()


def test_a_worker_that_does_not_answer_is_told_from_what_it_said_before(folder: Path) -> None:
    worker, stuck = Worker(folder, patience_seconds=0.3), Worker(folder)
    stuck.call(4)
    worker.call(1)
    assert worker.scrape()[CALLS] == 5
    hold = threading.Event()
    stuck.metrics.gauge("slow", "Slow.", lambda: float(hold.wait(20)))
    scraped = worker.scrape()
    assert scraped[CALLS] == 5
    assert scraped[HEARD] == 1
    hold.set()
    stuck.shared.stop()
    worker.shared.stop()


def test_nonsense_in_the_folder_counts_as_nothing(workers: list[Worker], folder: Path) -> None:
    (folder / "1-abc.json").write_bytes(b"[[[")
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(str(folder / "2-abc.sock"))  # does not listen
    workers[0].call()
    assert workers[0].scrape()[CALLS] == 1
