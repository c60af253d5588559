"""The circuit breaker: when it opens, what it lets through, how it closes again."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.resilience.breaker import CircuitBreaker, Rules, State


class Time:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Changes:
    """Hears of every change."""

    def __init__(self) -> None:
        self.heard: list[tuple[State, float, float]] = []

    def __call__(self, state: State, *, failure_rate: float, slow_rate: float) -> None:
        self.heard.append((state, failure_rate, slow_rate))


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def breaker(time: Time, changes: Changes) -> CircuitBreaker:
    return CircuitBreaker(Rules(), now=time, watch=changes)


def call(breaker: CircuitBreaker, *, failed: bool = False, slow: bool = False) -> bool:
    """Whether the call was let through."""
    permit = breaker.admit()
    if permit is not None:
        permit.record(failed=failed, slow=slow)
    return permit is not None


def opened(breaker: CircuitBreaker) -> CircuitBreaker:
    for _ in range(10):
        call(breaker, failed=True)
    assert breaker.state is State.OPEN
    return breaker


class TestClosed:
    def test_opens_at_half_of_the_calls_failed(
        self, breaker: CircuitBreaker, changes: Changes
    ) -> None:
        for number in range(9):
            call(breaker, failed=number < 5)
        assert breaker.state is State.CLOSED

        call(breaker)

        assert changes.heard == [(State.OPEN, 0.5, 0.0)]

    def test_stays_closed_below_half(self, breaker: CircuitBreaker, changes: Changes) -> None:
        for number in range(100):
            call(breaker, failed=number % 5 > 2)

        assert breaker.state is State.CLOSED
        assert changes.heard == []

    def test_decides_nothing_with_too_few_calls(self, breaker: CircuitBreaker) -> None:
        for _ in range(9):
            call(breaker, failed=True)

        assert breaker.state is State.CLOSED

    def test_opens_at_three_quarters_of_the_calls_slow(
        self, breaker: CircuitBreaker, changes: Changes
    ) -> None:
        for number in range(8):
            call(breaker, slow=number > 0)
        call(breaker)
        assert breaker.state is State.CLOSED

        call(breaker, slow=True)

        assert changes.heard == [(State.OPEN, 0.0, 0.8)]

    def test_forgets_what_has_left_the_window(self) -> None:
        breaker = CircuitBreaker(Rules(calls=10, least_calls=10))
        for failed in [True] * 4 + [False] * 10 + [True] * 4:
            call(breaker, failed=failed)

        assert breaker.state is State.CLOSED

    def test_does_not_count_a_call_that_was_given_up(self, breaker: CircuitBreaker) -> None:
        for _ in range(30):
            permit = breaker.admit()
            assert permit is not None
            permit.release()
        for _ in range(9):
            call(breaker, failed=True)

        assert breaker.state is State.CLOSED


class TestOpen:
    def test_lets_nothing_through_until_its_time_is_over(
        self, breaker: CircuitBreaker, time: Time
    ) -> None:
        opened(breaker)

        assert not call(breaker)
        assert breaker.retry_after_seconds() == 10
        time.now += 9.9
        assert not call(breaker)
        time.now += 0.1
        assert call(breaker)
        assert breaker.state is State.HALF_OPEN
        assert breaker.retry_after_seconds() == 0

    def test_is_not_moved_by_calls_that_began_before(
        self, breaker: CircuitBreaker, changes: Changes, time: Time
    ) -> None:
        early = [breaker.admit() for _ in range(5)]
        opened(breaker)
        time.now += 10
        probe = breaker.admit()

        for permit in early:
            assert permit is not None
            permit.record(failed=True, slow=False)

        assert probe is not None
        assert breaker.state is State.HALF_OPEN
        assert [state for state, *_ in changes.heard] == [State.OPEN, State.HALF_OPEN]


class TestHalfOpen:
    @pytest.fixture
    def breaker(self, time: Time, changes: Changes) -> CircuitBreaker:
        breaker = opened(CircuitBreaker(Rules(), now=time, watch=changes))
        time.now += 10
        changes.heard.clear()
        return breaker

    def test_lets_a_few_through(self, breaker: CircuitBreaker) -> None:
        permits = [breaker.admit() for _ in range(5)]

        assert [permit is not None for permit in permits] == [True] * 3 + [False] * 2

    def test_closes_when_they_are_well(self, breaker: CircuitBreaker, changes: Changes) -> None:
        for _ in range(3):
            assert call(breaker)

        assert [state for state, *_ in changes.heard] == [State.HALF_OPEN, State.CLOSED]
        assert all(call(breaker) for _ in range(20))

    def test_opens_again_when_they_are_not(
        self, breaker: CircuitBreaker, changes: Changes, time: Time
    ) -> None:
        call(breaker)
        call(breaker, failed=True)
        assert breaker.state is State.HALF_OPEN
        call(breaker, failed=True)

        assert [state for state, *_ in changes.heard] == [State.HALF_OPEN, State.OPEN]
        assert not call(breaker)
        assert breaker.retry_after_seconds() == 10

    def test_gives_the_place_of_one_that_was_given_up_to_another(
        self, breaker: CircuitBreaker
    ) -> None:
        permits = [breaker.admit() for _ in range(3)]
        assert not call(breaker)

        assert permits[0] is not None
        permits[0].release()

        assert call(breaker)

    def test_does_not_wait_for_ever_for_those_that_never_end(
        self, breaker: CircuitBreaker, time: Time, changes: Changes
    ) -> None:
        for _ in range(3):
            breaker.admit()
        time.now += 9.9
        assert breaker.admit() is None
        time.now += 0.1

        assert all(call(breaker) for _ in range(3))
        assert [state for state, *_ in changes.heard] == [State.HALF_OPEN, State.CLOSED]

    def test_is_not_moved_by_those_when_they_end_at_last(
        self, breaker: CircuitBreaker, time: Time
    ) -> None:
        late = [breaker.admit() for _ in range(3)]
        time.now += 10
        assert call(breaker)

        for permit in late:
            assert permit is not None
            permit.record(failed=True, slow=False)

        assert breaker.state is State.HALF_OPEN
        assert call(breaker)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80),
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from([0.1, 0.34, 0.5, 0.75, 1.0]),
)
def test_it_opens_exactly_when_the_last_calls_say_so(
    outcomes: list[tuple[bool, bool]], calls: int, least: int, rate: float
) -> None:
    rules = Rules(failure_rate=rate, slow_rate=rate, calls=calls, least_calls=least)
    breaker = CircuitBreaker(rules)
    window: deque[tuple[bool, bool]] = deque(maxlen=calls)
    for failed, slow in outcomes:
        assert call(breaker, failed=failed, slow=slow)
        window.append((failed, slow))
        enough = len(window) >= min(least, calls)
        rates = [sum(each) / len(window) for each in zip(*window, strict=True)]
        if enough and max(rates) >= rate:
            assert breaker.state is State.OPEN
            return
        assert breaker.state is State.CLOSED


def test_threads_lose_no_outcome() -> None:
    changes = Changes()
    breaker = CircuitBreaker(Rules(calls=8000, least_calls=8000, failure_rate=0.5), watch=changes)

    def work(failed: Any) -> None:
        for _ in range(1000):
            call(breaker, failed=failed)

    threads = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert changes.heard == [(State.OPEN, 0.5, 0.0)]
