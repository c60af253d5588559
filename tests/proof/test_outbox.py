"""What the laboratory of events shows: each effect once and in order, whoever is killed."""

from __future__ import annotations

import pytest

from portico.lab import events


@pytest.mark.parametrize("seed", [1, 2])
def test_every_event_has_its_effect_once_and_in_order(seed: int) -> None:
    found = events.measure(events=20_000, seed=seed)
    print(found)

    assert found["violations"] == []
    assert sum(found["kills"].values()) > 0
