"""The proof of the workflows, in small: a few of its cases, and a bug that it must find."""

from __future__ import annotations

import subprocess
import sys

_WAY = ["--placement", "payments-apart", "--workflow", "place_order, unpaid", "--lanes", "1"]


def _proof(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.proof.workflows", *_WAY, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_charge_that_meets_a_fault_breaks_no_law_but_one_whose_undo_is_left_out_does() -> None:
    sound = _proof("--only", "PaymentsService/Charge")
    faulty = _proof("--only", "lose for good in payments", "--plant", "undo")
    (table, complaints), (_, found) = sound.communicate(), faulty.communicate()

    assert (sound.returncode, complaints) == (0, "")
    *_, last = table.splitlines()
    assert last == "proof: 6 cases, 0 violations"
    assert faulty.returncode == 1
    assert "nothing is held for an order that was never placed" in found
