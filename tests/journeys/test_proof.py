"""The proof of the workflows, in small: a few of its cases on a shop with a bug, which one of them finds."""

from __future__ import annotations

import subprocess
import sys

_PROOF = [sys.executable, "-m", "tests.proof.workflows", "--lanes", "1"]
_WAY = ["--placement", "payments-apart", "--workflow", "place_order, unpaid"]
_CASES = ["--only", "in payments at rpc PaymentsService/Charge", "--plant", "undo"]


def test_an_undo_that_is_left_out_is_found_by_the_case_that_needs_it_and_by_no_other() -> None:
    proof = subprocess.run([*_PROOF, *_WAY, *_CASES], capture_output=True, text=True, check=False)

    assert proof.returncode == 1
    assert proof.stdout.splitlines()[-1].startswith("proof: 4 cases, ")
    found = {
        line.partition(": ")[2]: law.strip()
        for line, law in zip(proof.stderr.splitlines(), proof.stderr.splitlines()[1:], strict=False)
        if line.startswith("orders.")
    }
    lost = "lose for good in payments at rpc PaymentsService/Charge after"
    assert found[lost].startswith("no money is kept for a cancelled order")
    assert "kill in payments at rpc PaymentsService/Charge before" not in found
    assert "lose in payments at rpc PaymentsService/Charge after" not in found


def test_a_proof_that_chose_no_case_fails() -> None:
    nothing = ["--placement", "monolith", "--workflow", "place_ordr"]
    proof = subprocess.run([*_PROOF, *nothing], capture_output=True, text=True, check=False)

    assert proof.returncode == 1
    assert "no case has such a name" in proof.stderr
