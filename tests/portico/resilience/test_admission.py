"""Load shedding: a burst is taken up, a standing queue is not."""

from __future__ import annotations

from collections import deque

import pytest

from portico.resilience.admission import Admission


class Time:
    """Seconds that pass as fast as they are counted."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Simulation:
    """Threads, and the rule for the queue in front of them. ``waits`` has when work came, and its wait."""

    def __init__(
        self, admission: Admission, time: Time, *, threads: int, service_seconds: float
    ) -> None:
        self._admission = admission
        self._time = time
        self._service = service_seconds
        self._ends = [0.0] * threads
        self._queue: deque[float] = deque()
        self.waits: list[tuple[float, float]] = []
        self.refused = 0

    def arrive(self, at: float) -> None:
        self.work_until(at)
        if self._admission.refuses(len(self._queue)):
            self.refused += 1
            return
        self._admission.arrived()
        self._queue.append(at)
        self.work_until(at)

    def work_until(self, at: float) -> None:
        while self._queue:
            thread = min(range(len(self._ends)), key=self._ends.__getitem__)
            begins = max(self._ends[thread], self._queue[0])
            if begins > at:
                break
            self._time.now = begins
            arrived = self._queue.popleft()
            self.waits.append((arrived, begins - arrived))
            self._ends[thread] = begins + self._service
            self._admission.taken(len(self._queue))
        self._time.now = at

    def waits_after(self, seconds: float) -> list[float]:
        return [wait for arrived, wait in self.waits if arrived > seconds]


def simulated(
    arrivals: list[float],
    *,
    threads: int = 8,
    service_seconds: float = 0.005,
    patience_seconds: float = 0.2,
    most_waiting: int = 1000,
) -> Simulation:
    time = Time()
    admission = Admission(most_waiting=most_waiting, patience_seconds=patience_seconds, now=time)
    simulation = Simulation(admission, time, threads=threads, service_seconds=service_seconds)
    for at in arrivals:
        simulation.arrive(at)
    simulation.work_until(1e9)
    return simulation


def every(seconds: float, *, until: float) -> list[float]:
    return [number * seconds for number in range(int(until / seconds))]


class TestAServerThatKeepsUp:
    def test_refuses_nothing(self) -> None:
        assert simulated(every(1 / 1500, until=5)).refused == 0

    def test_takes_up_a_burst(self) -> None:
        burst = simulated([0.0] * 600)

        assert burst.refused == 0
        assert len(burst.waits) == 600

    def test_takes_up_bursts_between_which_it_rests(self) -> None:
        arrivals = [burst + 0.0 for burst in range(5) for _ in range(600)]

        assert simulated(arrivals).refused == 0


@pytest.mark.parametrize("service_seconds", [0.005, 0.05])
@pytest.mark.parametrize("times", [2, 4, 10])
class TestAServerWithTooMuchToDo:
    def test_goes_on_at_its_peak_and_lets_nobody_wait_long(
        self, service_seconds: float, times: int
    ) -> None:
        capacity, seconds = 8 / service_seconds, 10
        found = simulated(
            every(1 / capacity / times, until=seconds), service_seconds=service_seconds
        )

        assert len(found.waits) >= 0.95 * capacity * seconds
        assert max(found.waits_after(2)) <= 0.25
        assert found.refused > 0

    def test_would_make_everybody_wait_if_it_only_counted(
        self, service_seconds: float, times: int
    ) -> None:
        capacity = 8 / service_seconds
        found = simulated(
            every(1 / capacity / times, until=10),
            service_seconds=service_seconds,
            patience_seconds=1e9,
        )

        assert max(found.waits_after(0)) >= 0.8 * 1000 / capacity


def test_a_queue_that_has_stopped_is_noticed() -> None:
    stuck = simulated(every(0.05, until=5), threads=1, service_seconds=100)

    assert len(stuck.waits) <= 1 + 5
    assert stuck.refused >= 90


def test_so_many_wait_and_no_more() -> None:
    assert simulated([0.0] * 100, most_waiting=10).refused == 100 - 8 - 10


def test_the_rule_that_refuses_nothing_refuses_nothing() -> None:
    admission = Admission.of_everything()
    admission.arrived()

    assert not admission.refuses(10**9)
    assert admission.refused == 0


def test_refusals_are_counted() -> None:
    admission = Admission(most_waiting=1, patience_seconds=1)

    assert admission.refuses(1)
    assert not admission.refuses(0)
    assert admission.refused == 1
