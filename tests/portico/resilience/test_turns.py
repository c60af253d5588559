"""The switch interval: short under pressure, and as it was afterwards."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from portico.resilience.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def usual() -> Iterator[float]:
    usual = sys.getswitchinterval()
    yield usual
    sys.setswitchinterval(usual)


def test_turns_are_short_until_the_last_is_calm_again(usual: float) -> None:
    turns = Turns()
    turns.shorten()
    turns.shorten()
    assert sys.getswitchinterval() == pytest.approx(0.001)
    turns.restore()
    assert sys.getswitchinterval() == pytest.approx(0.001)
    turns.restore()
    assert sys.getswitchinterval() == pytest.approx(usual)


def test_turns_that_somebody_made_shorter_stay_so() -> None:
    sys.setswitchinterval(0.0005)
    turns = Turns()
    turns.shorten()

    assert sys.getswitchinterval() == pytest.approx(0.0005)
    turns.restore()
    assert sys.getswitchinterval() == pytest.approx(0.0005)
