"""One transaction together and a saga apart, as Postgres logs it; and bugs by which that would not be so.

Each in a process of its own: the shop's processes are forked from it, so it must have no thread yet.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.proof import same_source


def proof(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.proof.statements", *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_order_is_one_commit_together_and_four_apart_and_no_step_that_fails_leaves_anything() -> (
    None
):
    done = proof()
    print(done.stdout)

    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == (
        "statements: 1 commits together, 4 apart; 10 failing steps, 0 rows left behind"
    )
    places = ["1 price: process catalog", "2 order: process orders", "3 stock: process inventory"]
    for place in [*places, "4 payment: process payments", "5 announce: process orders"]:
        assert place in done.stdout


@pytest.mark.parametrize(
    ("bug", "found"),
    [
        ("steps", "monolith: one order took 4 commits"),
        ("undo", "apart: announce: no money is kept for a cancelled order"),
    ],
)
def test_a_bug_is_found(bug: str, found: str) -> None:
    done = proof("--plant", bug)

    assert done.returncode == 1
    assert found in done.stderr


def test_a_workflow_that_asks_where_modules_are_is_found() -> None:
    planted = f"from portico.topology import Topology\nimport os\n{same_source.read()}"

    assert same_source.sighted(same_source.read()) == []
    assert same_source.sighted(planted) == [
        "the workflow knows os",
        "the workflow knows portico.topology.Topology",
    ]
