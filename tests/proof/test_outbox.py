"""What the laboratory of events shows: each effect once and in order, whoever is killed."""

from __future__ import annotations

import pytest

from portico.lab import events


@pytest.mark.parametrize("transport", ["rpc", "redis"])
def test_every_event_has_its_effect_once_and_in_order(
    transport: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = events.measure(transport=transport, events=20_000)
    with capsys.disabled():
        print("", *events.lines(found), sep="\n")

    assert found["violations"] == []
    assert all(found["kills"].values())
    late = found["late"]
    assert late["arrived"] == late["events"] >= late["transactions"] > 0
