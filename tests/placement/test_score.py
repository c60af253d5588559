"""``make parity`` prints a score, and a fault that is planted is in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from portico.testing.transports import TRANSPORTS
from tests.placement.table import TABLE

ROOT = Path(__file__).parents[2]
MODULE = "tests.placement.short_table"
FAULT = "headers and trailers: a trailer among others is not lost"


def score(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The score as a program, as make runs it."""
    return subprocess.run(
        [sys.executable, "-m", "portico.testing.score", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_last_line_is_the_score() -> None:
    done = score(MODULE)

    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "parity: 14 cases, 6 transports, 0 differences"
    assert done.stderr == ""


@pytest.mark.parametrize("transport", ["servicer", "shared", "mtls"])
def test_a_trailer_that_one_transport_loses_is_found(transport: str) -> None:
    done = score(MODULE, "--plant", transport)

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "parity: 14 cases, 6 transports, 1 differences"
    assert FAULT in done.stdout.splitlines()
    assert f"  {transport} call.trailing[1]: " in done.stdout


def test_every_case_runs_over_every_transport_or_says_why_not() -> None:
    assert len(TABLE) > 100
    for case in TABLE:
        assert {*case.over, *case.without} >= set(TRANSPORTS)
        assert all(len(reason.split()) > 3 for reason in case.without.values()), str(case)


def test_most_cases_run_over_all_transports_but_the_servicer() -> None:
    exceptions = [case for case in TABLE if {*TRANSPORTS[1:]} & {*case.without}]

    assert len(exceptions) < len(TABLE) / 50
