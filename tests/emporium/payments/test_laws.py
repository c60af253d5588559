"""The laws of money, whatever is done in whatever order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from emporium.payments import ledger, model
from portico.errors import StatusError


@given(st.sampled_from(list(ledger.Entry)), st.integers(1, 10**14))
def test_the_postings_of_every_entry_add_up_to_zero(entry: ledger.Entry, minor: int) -> None:
    both = ledger.postings(entry, minor)
    assert sum(posting.minor for posting in both) == 0
    assert len({posting.account for posting in both}) == 2


@pytest.mark.parametrize("minor", [0, -1])
def test_an_entry_about_nothing_is_a_mistake(minor: int) -> None:
    with pytest.raises(ValueError, match="about something"):
        ledger.postings(ledger.Entry.CHARGED, minor)


def test_every_path_through_the_statuses_ends() -> None:
    ends = {status for status, following in model.MOVES.items() if not following}
    assert ends == {model.Status.FAILED, model.Status.VOIDED, model.Status.REFUNDED}
    for status, following in model.MOVES.items():
        assert model.Status.PENDING not in following
        assert status in ends or following


@given(st.decimals(0, 10**9, places=4))
def test_an_amount_is_written_exactly_with_two_decimals_at_least(amount: Decimal) -> None:
    text = model.written(amount)
    assert Decimal(text) == amount
    assert len(text.partition(".")[2]) >= 2


class Arithmetic(RuleBasedStateMachine):
    """Runs payments and a model of them side by side."""

    payments = Bundle("payments")
    till: Any

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Any] = {}
        self.status: dict[str, str] = {}
        self.amount: dict[str, int] = {}
        self.refunded: dict[str, int] = {}
        self.customer = self.till.new_id("usr")

    @rule(target=payments, minor=st.integers(1, 500))
    def charge(self, minor: int) -> str:
        payment = self.till.charge(minor=minor, customer_id=self.customer)
        payment_id = str(payment.payment_id)
        self.known[payment_id] = payment
        self.status[payment_id] = "PENDING"
        self.amount[payment_id] = minor
        self.refunded[payment_id] = 0
        return payment_id

    @rule(payment=payments, success=st.booleans())
    def hear(self, payment: str, success: bool) -> None:  # drawn by name
        outcome = "SUCCESS" if success else "FAILED"
        amount = self.amount[payment] / 100
        self.till.hear(self.known[payment], amount=amount, status=outcome)
        if self.status[payment] == "PENDING":
            self.status[payment] = "SUCCEEDED" if success else "FAILED"

    @rule(payment=payments)
    def hear_of_another_amount(self, payment: str) -> None:
        with pytest.raises(StatusError, match="AMOUNT_MISMATCHED"):
            self.till.hear(self.known[payment], amount=self.amount[payment] / 100 + 1)

    @rule(payment=payments)
    def void(self, payment: str) -> None:
        if self.status[payment] in ("PENDING", "FAILED", "VOIDED"):
            self.till.void(payment)
            if self.status[payment] == "PENDING":
                self.status[payment] = "VOIDED"
        else:
            with pytest.raises(StatusError, match="PAYMENT_NOT_VOIDABLE"):
                self.till.void(payment)

    @rule(payment=payments, minor=st.integers(1, 500))
    def refund(self, payment: str, minor: int) -> None:
        left = self.amount[payment] - self.refunded[payment]
        if self.status[payment] in ("PENDING", "FAILED", "VOIDED"):
            with pytest.raises(StatusError, match="PAYMENT_NOT_REFUNDABLE"):
                self.till.refund(payment, minor)
        elif minor > left:
            with pytest.raises(StatusError, match="REFUND_TOO_LARGE"):
                self.till.refund(payment, minor)
        else:
            self.till.refund(payment, minor)
            self.refunded[payment] += minor
            self.status[payment] = "REFUNDED" if minor == left else "PARTIALLY_REFUNDED"

    @invariant()
    def payments_and_ledger_are_as_calculated(self) -> None:
        rows = self.till.query(
            """SELECT payment.payment_id, payment.status, payment.refunded_minor,
                      sum(posting.amount_minor) FILTER (WHERE account = 'CUSTOMER'),
                      sum(posting.amount_minor) FILTER (WHERE account = 'PROVIDER'),
                      sum(posting.amount_minor)
               FROM payments.payments AS payment
               JOIN payments.postings AS posting USING (payment_id)
               WHERE customer_id = :customer GROUP BY payment.payment_id""",
            customer=self.customer,
        )
        assert {row[0] for row in rows} == set(self.status)
        for payment_id, status, refunded, owed, taken, total in rows:
            assert (status, refunded) == (self.status[payment_id], self.refunded[payment_id])
            pending = status == "PENDING"
            kept = status in ("SUCCEEDED", "REFUNDED", "PARTIALLY_REFUNDED")
            amount = self.amount[payment_id]
            assert (owed or 0) == (amount if pending else 0)
            assert (taken or 0) == (amount - self.refunded[payment_id] if kept else 0)
            assert total == 0


def test_payments_do_what_arithmetic_says(till: Any) -> None:
    machine = type("PaymentsAndArithmetic", (Arithmetic,), {"till": till})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
