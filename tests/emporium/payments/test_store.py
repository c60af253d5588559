"""The statements of payments: how many they are, and what the tables refuse whoever asks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from commerce.payments.v1.events_pb2 import PaymentRequested, PaymentVoided
from commerce.payments.v1.payment_pb2 import Payment
from psycopg import errors as driver_errors
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from portico.data import constraint
from portico.errors import StatusError


def statements(till: Any, work: Any) -> int:
    """How many statements ``work`` sends, apart from BEGIN and COMMIT."""
    sent: list[str] = []

    def note(*arguments: Any) -> None:
        sent.append(arguments[2])

    engine = till.database.engine._sqlalchemy
    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(sent)


def test_charging_takes_one_statement_and_its_event_another(till: Any) -> None:
    assert statements(till, till.charge) == 2


def test_reading_takes_one_statement(till: Any) -> None:
    payment = till.charge().payment_id
    assert statements(till, lambda: till.get(payment)) == 1
    assert statements(till, lambda: till.balance("usr_1")) == 1


def test_a_webhook_takes_three_statements_and_its_repeat_one(till: Any) -> None:
    payment = till.charge()
    assert statements(till, lambda: till.hear(payment)) == 3
    assert statements(till, lambda: till.hear(payment)) == 1


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE payments.payments SET amount_minor = -1", "payments_amount_positive"),
        ("UPDATE payments.payments SET amount_minor = 0", "payments_amount_positive"),
        ("UPDATE payments.payments SET currency_code = ''", "payments_currency_iso"),
        ("UPDATE payments.payments SET refunded_minor = 1", "payments_refunded_fits_status"),
        ("UPDATE payments.payments SET status = 'PAID'", "payments_status_known"),
        ("UPDATE payments.postings SET amount_minor = 1", "postings_are_final"),
        ("DELETE FROM payments.postings", "postings_are_final"),
    ],
)
def test_the_tables_refuse_what_breaks_a_law(till: Any, change: str, broken: str) -> None:
    payment = till.charge().payment_id
    with pytest.raises(IntegrityError) as caught, till.database.unit_of_work() as session:
        session.exec_driver_sql(f"{change} WHERE payment_id = %(id)s", {"id": payment})
    assert constraint(caught.value) == broken


def test_a_ledger_that_does_not_add_up_is_not_committed(till: Any) -> None:
    payment = till.charge().payment_id
    with (
        pytest.raises(driver_errors.CheckViolation) as caught,
        till.database.unit_of_work() as session,
    ):
        session.exec_driver_sql(
            "INSERT INTO payments.postings (payment_id, entry, account, currency_code, amount_minor, posted_at)"
            " VALUES (%(id)s, 'SUCCEEDED', 'PROVIDER', 'USD', 1, now())",
            {"id": payment},
        )
    assert constraint(caught.value) == "postings_sum_to_zero"
    assert till.accounts(payment) == {"CUSTOMER": 149_98, "SALES": -149_98}


def at_once(threads: int, work: Any) -> list[str]:
    """What so many threads that start together answer, or the reasons they are refused with."""
    together = threading.Barrier(threads)

    def one(number: int) -> str:
        together.wait()
        try:
            return str(work(number))
        except StatusError as refusal:
            return refusal.reason

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def test_a_request_sent_8_times_at_once_charges_once(till: Any) -> None:
    payment = till.new_id("pay")
    assert set(at_once(8, lambda _: till.charge(payment).payment_id)) == {payment}
    assert len(till.published(PaymentRequested, payment)) == 1
    assert till.accounts(payment) == {"CUSTOMER": 149_98, "SALES": -149_98}


def test_refunds_at_once_never_give_back_more_than_was_taken(till: Any) -> None:
    payment = till.succeeded(minor=100_00).payment_id
    answers = at_once(8, lambda _: till.refund(payment, 30_00).payment_id)
    assert sorted(answers) == ["REFUND_TOO_LARGE"] * 5 + [payment] * 3
    assert till.get(payment).refunded_amount.units == 90


def test_a_void_and_a_webhook_at_once_do_not_both_win(till: Any) -> None:
    for _ in range(10):
        payment = till.charge()

        def race(number: int, payment: Payment = payment) -> str:
            if number % 2:
                till.void(payment.payment_id)
                return "VOIDED"
            return str(Payment.Status.Name(till.hear(payment).status))

        answers = set(at_once(4, race))
        status = till.status(payment.payment_id)
        voids = len(till.published(PaymentVoided, payment.payment_id))
        if status == "VOIDED":
            assert answers == {"VOIDED"}
            assert (voids, till.accounts(payment.payment_id)) == (1, {})
        else:
            assert answers == {"SUCCEEDED", "PAYMENT_NOT_VOIDABLE"}
            assert voids == 0


def test_a_void_that_overtakes_its_charge_leaves_nothing_open(till: Any) -> None:
    for _ in range(10):
        payment = till.new_id("pay")

        def race(number: int, payment: str = payment) -> str:
            if number:
                till.void(payment)
            else:
                till.charge(payment)
            return "done"

        assert set(at_once(2, race)) <= {"done", "PAYMENT_VOIDED"}
        assert till.accounts(payment) == {}
