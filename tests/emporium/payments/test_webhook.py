"""Webhooks of providers, over the servicer alone, the local channel and a socket."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from commerce.payments.v1.events_pb2 import (
    PaymentAmountMismatched,
    PaymentContradicted,
    PaymentFailed,
    PaymentSucceeded,
)
from commerce.payments.v1.payment_pb2 import Payment

from emporium.payments import signature
from portico.errors import StatusError

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT


def refused(call: Any, *arguments: Any, **more: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        call(*arguments, **more)
    return caught.value


class TestBelieved:
    def test_success_ends_the_payment(self, payments: Any) -> None:
        payment = payments.charge()
        heard = payments.hear(payment)
        assert (heard.payment_id, heard.status) == (payment.payment_id, Payment.SUCCEEDED)
        assert payments.status(payment.payment_id) == "SUCCEEDED"
        [told] = payments.published(PaymentSucceeded, payment.payment_id)
        assert (told.order_id, told.amount) == (payment.order_id, payment.amount)
        assert payments.accounts(payment.payment_id) == {"PROVIDER": 149_98, "SALES": -149_98}

    def test_failure_ends_the_payment(self, payments: Any) -> None:
        payment = payments.charge()
        assert payments.hear(payment, status="FAILED").status == Payment.FAILED
        assert len(payments.published(PaymentFailed, payment.payment_id)) == 1
        assert payments.accounts(payment.payment_id) == {}

    @pytest.mark.parametrize("status", ["SUCCESS", "FAILED"])
    def test_a_repeat_is_answered_alike_and_changes_nothing(
        self, payments: Any, status: str
    ) -> None:
        payment = payments.charge()
        first = payments.hear(payment, status=status)
        before = payments.get(payment.payment_id)
        payments.clock.advance(seconds=30)
        assert payments.hear(payment, status=status) == first
        assert payments.get(payment.payment_id) == before
        events = PaymentSucceeded if status == "SUCCESS" else PaymentFailed
        assert len(payments.published(events, payment.payment_id)) == 1
        assert payments.discrepancies(payment.payment_id) == []

    def test_the_same_8_times_at_once_counts_once(self, payments: Any) -> None:
        payment = payments.charge()
        together = threading.Barrier(8)

        def hear(_: int) -> int:
            together.wait()
            return int(payments.hear(payment).status)

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(hear, range(8))) == {Payment.SUCCEEDED}
        assert len(payments.published(PaymentSucceeded, payment.payment_id)) == 1
        assert payments.accounts(payment.payment_id) == {"PROVIDER": 149_98, "SALES": -149_98}

    def test_a_repeat_after_a_refund_is_no_news(self, payments: Any) -> None:
        payment = payments.charge()
        payments.hear(payment)
        payments.refund(payment.payment_id, 149_98)
        assert payments.hear(payment).status == Payment.REFUNDED
        assert payments.discrepancies(payment.payment_id) == []

    @pytest.mark.parametrize(
        "amount",
        ["149.98", "149.980", "149.9800000", "14998e-2", "1.4998E+2"],
    )
    def test_the_amount_is_read_as_the_decimal_that_was_written(
        self, payments: Any, amount: str
    ) -> None:
        payment = payments.charge()
        body = json.dumps(payments.news(payment, amount=0)).replace('": 0', f'": {amount}').encode()
        heard = payments.receive(body, payments.signed(payment, body))
        assert heard.status == Payment.SUCCEEDED

    def test_fields_that_the_contract_does_not_list_are_passed_over(self, payments: Any) -> None:
        payment = payments.charge()
        assert payments.hear(payment, fee={"x": [1, 2]}, livemode=True).status == Payment.SUCCEEDED

    def test_the_time_of_the_event_may_be_missing(self, payments: Any) -> None:
        payment = payments.charge()
        assert payments.hear(payment, timestamp=None).status == Payment.SUCCEEDED


class TestOtherAmounts:
    @pytest.mark.parametrize(
        ("amount", "told"),
        [
            ("1", "1.00"),
            ("149.97", "149.97"),
            ("149.981", "149.981"),
            ("149.98000000000002", "149.98000000000002"),
            (
                "149.980000000000000000000000000000000001",
                "149.980000000000000000000000000000000001",
            ),
            ("0", "0.00"),
            ("14998", "14998.00"),
        ],
    )
    def test_are_refused_and_recorded_once_and_change_nothing(
        self, payments: Any, amount: str, told: str
    ) -> None:
        payment = payments.charge()
        body = json.dumps(payments.news(payment, amount=0)).replace('": 0', f'": {amount}').encode()
        for _ in range(2):
            error = refused(payments.receive, body, payments.signed(payment, body))
            assert error.code() is grpc.StatusCode.ABORTED
            assert error.reason == "AMOUNT_MISMATCHED"
            assert error.metadata == {
                "payment_id": payment.payment_id,
                "amount": "149.98",
                "received_amount": told,
            }
        assert payments.get(payment.payment_id) == payment
        [(kind, status, outcome, _)] = payments.discrepancies(payment.payment_id)
        assert (kind, status, outcome) == ("MISMATCHED", "PENDING", "SUCCESS")
        assert len(payments.published(PaymentAmountMismatched, payment.payment_id)) == 1
        assert payments.published(PaymentSucceeded, payment.payment_id) == []

    def test_are_told_exactly(self, payments: Any) -> None:
        payment = payments.charge()
        refused(payments.hear, payment, amount=149.981)
        [told] = payments.published(PaymentAmountMismatched, payment.payment_id)
        assert (told.received_amount.units, told.received_amount.nanos) == (149, 981_000_000)
        assert told.received_amount.currency_code == "USD"

    def test_leave_the_right_one_possible(self, payments: Any) -> None:
        payment = payments.charge()
        refused(payments.hear, payment, amount=1)
        assert payments.hear(payment).status == Payment.SUCCEEDED


class TestContradictions:
    def test_money_for_a_payment_that_was_given_up_is_recorded_once(self, payments: Any) -> None:
        payment = payments.charge()
        payments.void(payment.payment_id)
        for _ in range(2):
            assert payments.hear(payment).status == Payment.VOIDED
        assert payments.discrepancies(payment.payment_id) == [
            ("CONTRADICTED", "VOIDED", "SUCCESS", "149.98")
        ]
        [told] = payments.published(PaymentContradicted, payment.payment_id)
        assert told.status == Payment.VOIDED
        assert payments.published(PaymentSucceeded, payment.payment_id) == []

    def test_success_after_failure_and_failure_after_success_are_recorded(
        self, payments: Any
    ) -> None:
        failed, succeeded = payments.charge(), payments.charge()
        payments.hear(failed, status="FAILED")
        payments.hear(succeeded)
        assert payments.hear(failed).status == Payment.FAILED
        assert payments.hear(succeeded, status="FAILED").status == Payment.SUCCEEDED
        assert [each[:3] for each in payments.discrepancies(failed.payment_id)] == [
            ("CONTRADICTED", "FAILED", "SUCCESS")
        ]
        assert [each[:3] for each in payments.discrepancies(succeeded.payment_id)] == [
            ("CONTRADICTED", "SUCCEEDED", "FAILED")
        ]

    def test_failure_of_a_payment_that_was_given_up_is_no_news(self, payments: Any) -> None:
        payment = payments.charge()
        payments.void(payment.payment_id)
        assert payments.hear(payment, status="FAILED").status == Payment.VOIDED
        assert payments.discrepancies(payment.payment_id) == []


class TestSignatures:
    def test_that_are_missing_or_wrong_are_refused_and_nothing_changes(self, payments: Any) -> None:
        payment = payments.charge()
        body = json.dumps(payments.news(payment)).encode()
        good = payments.signed(payment, body)
        time, digest = good.split(",")
        other = "whsec_of_borealis" if payment.provider == "aurora" else "whsec_of_aurora"
        now = payments.clock.now()
        for headers in [
            [],
            [""],
            [time],
            [digest],
            [f"{time},v1="],
            [f"{time},v1=00"],
            [f"{time},v0={digest[3:]}"],
            [f"t=,{digest}"],
            [f"t=-1,{digest}"],
            [f"t=1e9,{digest}"],
            [f"{time},{time},{digest}"],
            [f"t={int(time[2:]) + 1},{digest}"],
            [f"{time},v1={'0' * 64}"],
            [good[:-1] + ("0" if good[-1] != "0" else "1")],
            [",".join([time, *["v1=" + "0" * 64] * 16, digest])],
            [good, good],
            [signature.sign(body + b" ", secret="whsec_of_aurora", now=now)],
            [signature.sign(body, secret="whsec_demo", now=now)],
            [signature.sign(body, secret=other, now=now)],
        ]:
            error = refused(payments.receive, body, *headers)
            assert (error.code(), error.reason) == (UNAUTHENTICATED, "WEBHOOK_SIGNATURE_INVALID"), (
                headers
            )
        assert payments.get(payment.payment_id) == payment
        assert payments.discrepancies(payment.payment_id) == []

    def test_hold_for_the_bytes_that_came(self, payments: Any) -> None:
        payment = payments.charge()
        body = json.dumps(payments.news(payment)).encode()
        header = payments.signed(payment, body)
        for tampered in [body.replace(b"149.98", b"149.99"), b" " + body, body + b"\n", body[:-1]]:
            error = refused(payments.receive, tampered, header)
            assert error.reason == "WEBHOOK_SIGNATURE_INVALID"

    @pytest.mark.parametrize("seconds", [301, 3600])
    def test_that_are_too_old_are_refused(self, payments: Any, seconds: int) -> None:
        payment = payments.charge()
        body = json.dumps(payments.news(payment)).encode()
        header = payments.signed(payment, body)
        payments.clock.advance(seconds=seconds)
        error = refused(payments.receive, body, header)
        assert (error.code(), error.reason) == (UNAUTHENTICATED, "WEBHOOK_EXPIRED")
        assert payments.get(payment.payment_id) == payment

    def test_are_good_for_five_minutes(self, payments: Any) -> None:
        payment = payments.charge()
        body = json.dumps(payments.news(payment)).encode()
        header = payments.signed(payment, body)
        payments.clock.advance(seconds=300)
        assert payments.receive(body, header).status == Payment.SUCCEEDED

    def test_from_the_future_are_refused(self, payments: Any) -> None:
        payment = payments.charge()
        body = json.dumps(payments.news(payment)).encode()
        secret = f"whsec_of_{payment.provider}"
        ahead = f"t={int(payments.clock.now().timestamp()) + 301}"
        digest = signature._digest(ahead[2:], secret, body).hex()
        assert refused(payments.receive, body, f"{ahead},v1={digest}").reason == "WEBHOOK_EXPIRED"

    def test_may_offer_several_digests_while_a_secret_is_changed(self, payments: Any) -> None:
        payment = payments.charge()
        body = json.dumps(payments.news(payment)).encode()
        time, digest = payments.signed(payment, body).split(",")
        header = f"{time}, v1={'0' * 64}, {digest.upper().replace('V1', 'v1')},v0=abc"
        assert payments.receive(body, header).status == Payment.SUCCEEDED


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "fields"),
        [
            (b"\xff", []),
            (b"{", []),
            (b"[]", []),
            (b'"x"', []),
            (b"[" * 20_000, []),
            (b'{"a":1,"a":2}', []),
            (b'{"fee":{"a":1,"a":2}}', []),
            (b'{"amount":NaN}', []),
            (b'{"amount":Infinity}', []),
            (b'{"amount":1e9999999999999999999}', []),
            (b"{}", ["paymentId", "orderId", "amount", "status"]),
            (b"null", []),
        ],
    )
    def test_that_are_no_notification_are_refused(
        self, payments: Any, body: bytes, fields: list[str]
    ) -> None:
        header = signature.sign(body, secret="whsec_of_aurora", now=payments.clock.now())
        error = refused(payments.receive, body, header)
        assert (error.code(), error.reason) == (INVALID_ARGUMENT, "WEBHOOK_MALFORMED")
        assert [violation.field for violation in error.violations] == fields

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("paymentId", None),
            ("paymentId", 7),
            ("paymentId", ""),
            ("paymentId", "pay\0"),
            ("paymentId", "p" * 65),
            ("orderId", ["ord_1"]),
            ("orderId", "ord 1"),
            ("amount", None),
            ("amount", "149.98"),
            ("amount", True),
            ("amount", -149.98),
            ("amount", 10**15),
            ("amount", 1e-41),
            ("amount", {"units": 149}),
            ("status", None),
            ("status", "success"),
            ("status", "REFUNDED"),
            ("status", 1),
            ("status", ["SUCCESS"]),
            ("timestamp", 1),
            ("timestamp", "yesterday"),
            ("timestamp", "2026-05-29T13:07:05"),
        ],
    )
    def test_with_a_wrong_field_are_refused_and_it_is_named(
        self, payments: Any, field: str, value: Any
    ) -> None:
        payment = payments.charge()
        error = refused(payments.hear, payment, **{field: value})
        assert (error.code(), error.reason) == (INVALID_ARGUMENT, "WEBHOOK_MALFORMED")
        assert [violation.field for violation in error.violations] == [field]
        assert payments.get(payment.payment_id) == payment
        assert payments.discrepancies(payment.payment_id) == []

    def test_about_an_unknown_payment_are_refused(self, payments: Any) -> None:
        payment = payments.charge()
        error = refused(payments.hear, payment, paymentId="pay_none")
        assert (error.code(), error.reason) == (grpc.StatusCode.NOT_FOUND, "PAYMENT_NOT_FOUND")
        assert error.metadata == {"payment_id": "pay_none"}

    def test_about_another_order_are_refused(self, payments: Any) -> None:
        payment = payments.charge()
        error = refused(payments.hear, payment, orderId="ord_other")
        assert (error.code(), error.reason) == (grpc.StatusCode.NOT_FOUND, "PAYMENT_NOT_FOUND")
        assert payments.get(payment.payment_id) == payment

    def test_about_a_payment_given_up_before_it_was_opened_are_refused(self, payments: Any) -> None:
        payment = payments.charge()
        blank = payments.new_id("pay")
        payments.void(blank)
        error = refused(payments.hear, payment, paymentId=blank)
        assert error.reason == "PAYMENT_NOT_FOUND"
