"""What the laboratory of workflows shows, held to its aims: the cost of the log, and runs that were abandoned."""

from __future__ import annotations

from portico.lab import recovery, workflow


def test_the_log_of_a_saga_costs_little() -> None:
    found = workflow.measure()
    print(found)

    assert found["log"]["apart"]["p50_ms"] < workflow.AIM_LOG_MS
    assert found["log"]["noting"]["p50_ms"] < workflow.AIM_LOG_MS


def test_runs_of_killed_processes_are_all_finished() -> None:
    found = recovery.measure(runs=2000)
    print(found)

    assert found["ended"] == {"DONE": 2000}
    assert found["violations"] == []
