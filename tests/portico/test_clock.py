from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from portico.clock import Clock, ManualClock, SystemClock

START = datetime(2026, 5, 29, 13, 7, tzinfo=UTC)


def test_the_system_clock_tells_an_aware_time_in_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)


def test_a_manual_clock_stands_still() -> None:
    clock: Clock = ManualClock(START)
    assert clock.now() == clock.now() == START


def test_a_manual_clock_moves_when_it_is_told_to() -> None:
    clock = ManualClock(START)
    clock.advance(seconds=90.5)
    assert clock.now() == START + timedelta(seconds=90.5)


def test_a_manual_clock_answers_in_utc_whatever_zone_it_was_given() -> None:
    clock = ManualClock(START.astimezone(timezone(timedelta(hours=9))))
    assert clock.now() == START
    assert clock.now().utcoffset() == timedelta(0)


def test_a_manual_clock_is_not_set_back() -> None:
    clock = ManualClock(START)
    with pytest.raises(ValueError, match="advances"):
        clock.advance(seconds=-1)
    assert clock.now() == START


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        ManualClock(START.replace(tzinfo=None))
