"""What the laboratory of trouble shows, held to its aims: overload, an outage, a deadline over a chain."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from portico.lab import chain, outage, overload, work_server

if TYPE_CHECKING:
    import pytest


def test_a_server_with_four_times_its_load_goes_on() -> None:
    found = overload.measure()["servers"]["by wait"]
    print(found)

    assert found["goodput_of_peak"] >= overload.AIM_GOODPUT
    assert found["p99_ms"] < overload.AIM_P99_MS
    before, after = found["resident_mib"]
    assert after < before + 50
    assert found["lost"] == 0


def test_a_callee_that_is_killed_costs_its_callers_little() -> None:
    found = outage.measure()
    print({name: value for name, value in found.items() if name != "phases"})

    assert found["open_p99_ms"] < outage.AIM_P99_MS
    assert found["amplification"] < outage.AIM_AMPLIFICATION
    assert found["without_breaker"]["amplification"] < outage.AIM_AMPLIFICATION
    assert found["back_after_seconds"] < outage.AIM_BACK_SECONDS


def test_a_deadline_ends_a_chain_of_processes() -> None:
    found = chain.measure(calls=chain.CALLS)

    assert found["codes"] == {"DEADLINE_EXCEEDED": chain.CALLS}
    deadline_ms, off_ms = chain.DEADLINE_SECONDS * 1000, chain.AIM_SECONDS_OFF * 1000
    assert abs(median(found["took_ms"]) - deadline_ms) < off_ms
    assert not any(found["still_at_work"].values())


def test_the_aims_can_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a server that lets a thousand calls wait."""
    rules: dict[str, Any] = {"by number": work_server.RULES["by number"]}
    monkeypatch.setattr(work_server, "RULES", rules)
    found = overload.measure()["servers"]["by number"]

    assert found["p99_ms"] >= overload.AIM_P99_MS
