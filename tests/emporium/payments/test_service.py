"""The contract of payments without webhooks, over the servicer alone, the local channel and a socket."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from commerce.payments.v1.events_pb2 import (
    PaymentFailed,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
    PaymentVoided,
)
from commerce.payments.v1.payment_pb2 import Payment
from commerce.payments.v1.payments_service_pb2 import (
    GetOutstandingBalanceRequest,
    GetPaymentRequest,
)
from google.type.money_pb2 import Money

from portico.errors import StatusError

NOT_FOUND = grpc.StatusCode.NOT_FOUND
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS


def refusal(call: Any, *arguments: Any, **more: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """The code, reason and metadata that a call is refused with."""
    with pytest.raises(StatusError) as caught:
        call(*arguments, **more)
    return caught.value.code(), caught.value.reason, dict(caught.value.metadata)


class TestCharging:
    def test_opens_a_payment_that_is_pending(self, payments: Any) -> None:
        payment = payments.charge()
        assert payment.status == Payment.PENDING
        assert (payment.amount.units, payment.amount.nanos) == (149, 980_000_000)
        assert payment.refunded_amount == Money(currency_code="USD")
        assert payment.provider in ("aurora", "borealis")
        assert payments.get(payment.payment_id) == payment

    def test_asks_for_the_money_after_the_commit(self, payments: Any) -> None:
        payment = payments.charge()
        [told] = payments.published(PaymentRequested, payment.payment_id)
        assert (told.amount, told.provider) == (payment.amount, payment.provider)

    def test_charges_once_for_one_request_id(self, payments: Any) -> None:
        payment = payments.charge()
        assert payments.charge(payment.payment_id) == payment
        assert len(payments.published(PaymentRequested, payment.payment_id)) == 1
        assert payments.accounts(payment.payment_id) == {"CUSTOMER": 149_98, "SALES": -149_98}

    def test_answers_a_late_repeat_with_the_payment_as_it_is(self, payments: Any) -> None:
        payment_id = payments.charge(payment_method="pm_instant").payment_id
        payments.settle()
        assert payments.charge(payment_id, payment_method="pm_instant").status == Payment.SUCCEEDED

    @pytest.mark.parametrize(
        "other",
        [
            {"minor": 1},
            {"order_id": "ord_other"},
            {"customer_id": "usr_2"},
            {"payment_method": "pm_instant"},
            {"payment_id": "pay_other"},
            {"amount": Money(currency_code="EUR", units=149, nanos=980_000_000)},
        ],
    )
    def test_refuses_a_request_id_that_came_with_other_content(
        self, payments: Any, other: dict[str, Any]
    ) -> None:
        payment, key = payments.new_id("pay"), payments.new_id("req")
        content = {"payment_id": payment, "order_id": "ord_1", "request_id": key}
        payments.charge(**content)
        refused = refusal(payments.charge, **(content | other))
        assert refused == (ALREADY_EXISTS, "REQUEST_ID_REUSED", {"request_id": key})

    def test_refuses_an_id_that_is_taken(self, payments: Any) -> None:
        payment = payments.charge().payment_id
        refused = refusal(payments.charge, payment, request_id=payments.new_id("req"))
        assert refused == (ALREADY_EXISTS, "PAYMENT_EXISTS", {"payment_id": payment})

    def test_refuses_a_method_that_no_provider_knows(self, payments: Any) -> None:
        payment = payments.new_id("pay")
        refused = refusal(payments.charge, payment, payment_method="pm_none")
        wanted = (NOT_FOUND, "PAYMENT_METHOD_NOT_FOUND", {"payment_method": "pm_none"})
        assert refused == wanted
        assert refusal(payments.get, payment)[1] == "PAYMENT_NOT_FOUND"

    def test_keeps_the_largest_amount_exactly(self, payments: Any) -> None:
        payment = payments.charge(amount=Money(currency_code="JPY", units=10**12))
        assert payments.get(payment.payment_id).amount.units == 10**12


class TestProvidersAnswers:
    @pytest.mark.parametrize(
        ("method", "status", "event", "accounts"),
        [
            ("pm_visa_9832", "PENDING", None, {"CUSTOMER": 149_98, "SALES": -149_98}),
            ("pm_instant", "SUCCEEDED", PaymentSucceeded, {"PROVIDER": 149_98, "SALES": -149_98}),
            ("pm_declined", "FAILED", PaymentFailed, {}),
        ],
    )
    def test_end_a_payment_as_its_method_does(
        self, payments: Any, method: str, status: str, event: Any, accounts: dict[str, int]
    ) -> None:
        payment = payments.charge(payment_method=method)
        payments.settle()
        assert payments.status(payment.payment_id) == status
        assert payments.accounts(payment.payment_id) == accounts
        if event is not None:
            [told] = payments.published(event, payment.payment_id)
            assert (told.order_id, told.customer_id) == (payment.order_id, "usr_1")


class TestVoiding:
    def test_gives_a_pending_payment_up_once(self, payments: Any) -> None:
        payment = payments.charge().payment_id
        payments.void(payment)
        payments.void(payment)
        assert payments.status(payment) == "VOIDED"
        assert len(payments.published(PaymentVoided, payment)) == 1
        assert payments.accounts(payment) == {}

    def test_before_the_provider_was_asked_keeps_it_from_being_asked(self, payments: Any) -> None:
        payment = payments.charge(payment_method="pm_instant").payment_id
        payments.void(payment)
        payments.settle()
        assert payments.status(payment) == "VOIDED"

    def test_has_nothing_to_do_for_a_payment_that_failed(self, payments: Any) -> None:
        payment = payments.charge(payment_method="pm_declined").payment_id
        payments.settle()
        payments.void(payment)
        assert payments.status(payment) == "FAILED"

    def test_comes_too_late_when_the_money_was_taken(self, payments: Any) -> None:
        payment = payments.succeeded().payment_id
        wanted = {"payment_id": payment, "status": "SUCCEEDED"}
        assert refusal(payments.void, payment) == (
            FAILED_PRECONDITION,
            "PAYMENT_NOT_VOIDABLE",
            wanted,
        )
        payments.refund(payment, 149_98)
        assert refusal(payments.void, payment)[2]["status"] == "REFUNDED"

    def test_of_a_payment_that_was_never_opened_keeps_it_from_being_opened(
        self, payments: Any
    ) -> None:
        payment = payments.new_id("pay")
        payments.void(payment)
        payments.void(payment)
        refused = refusal(payments.charge, payment)
        assert refused == (FAILED_PRECONDITION, "PAYMENT_VOIDED", {"payment_id": payment})
        assert refusal(payments.get, payment)[1] == "PAYMENT_NOT_FOUND"
        assert refusal(payments.refund, payment, 1)[1] == "PAYMENT_NOT_FOUND"


class TestRefunding:
    def test_gives_parts_back_until_nothing_is_left(self, payments: Any) -> None:
        payment = payments.succeeded().payment_id
        partly = payments.refund(payment, 100_00)
        assert partly.status == Payment.PARTIALLY_REFUNDED
        assert partly.refunded_amount.units == 100
        assert payments.accounts(payment) == {"PROVIDER": 49_98, "SALES": -49_98}
        fully = payments.refund(payment, 49_98)
        assert fully.status == Payment.REFUNDED
        assert fully.refunded_amount == fully.amount
        assert payments.accounts(payment) == {}
        told = payments.published(PaymentRefunded, payment)
        assert [(event.amount.units, event.in_full) for event in told] == [(100, False), (49, True)]

    def test_happens_once_for_one_request_id(self, payments: Any) -> None:
        payment, key = payments.succeeded().payment_id, payments.new_id("refund")
        payments.refund(payment, 100_00, key=key)
        payments.refund(payment, 1_00)
        again = payments.refund(payment, 100_00, key=key)
        assert (again.refunded_amount.units, again.status) == (101, Payment.PARTIALLY_REFUNDED)
        assert len(payments.published(PaymentRefunded, payment)) == 2

    @pytest.mark.parametrize(
        "other", [(99_00, "USD", False), (100_00, "EUR", False), (100_00, "USD", True)]
    )
    def test_refuses_a_request_id_that_came_with_other_content(
        self, payments: Any, other: tuple[int, str, bool]
    ) -> None:
        minor, currency, elsewhere = other
        payment, key = payments.succeeded().payment_id, payments.new_id("refund")
        payments.refund(payment, 100_00, key=key)
        target = payments.succeeded().payment_id if elsewhere else payment
        refused = refusal(payments.refund, target, minor, currency, key)
        assert refused == (ALREADY_EXISTS, "REQUEST_ID_REUSED", {"request_id": key})

    def test_gives_no_more_back_than_is_left(self, payments: Any) -> None:
        payment = payments.succeeded().payment_id
        payments.refund(payment, 100_00)
        refused = refusal(payments.refund, payment, 49_99)
        wanted = {"payment_id": payment, "amount": "49.99", "left": "49.98"}
        assert refused == (FAILED_PRECONDITION, "REFUND_TOO_LARGE", wanted)
        payments.refund(payment, 49_98)
        assert refusal(payments.refund, payment, 1)[1] == "REFUND_TOO_LARGE"

    def test_needs_money_that_was_taken(self, payments: Any) -> None:
        payment = payments.charge().payment_id
        refused = refusal(payments.refund, payment, 1)
        wanted = {"payment_id": payment, "status": "PENDING", "currency_code": "USD"}
        assert refused == (FAILED_PRECONDITION, "PAYMENT_NOT_REFUNDABLE", wanted)
        payments.void(payment)
        assert refusal(payments.refund, payment, 1)[2]["status"] == "VOIDED"

    def test_converts_nothing(self, payments: Any) -> None:
        payment = payments.succeeded().payment_id
        refused = refusal(payments.refund, payment, 1, "EUR")
        assert refused[1:] == (
            "PAYMENT_NOT_REFUNDABLE",
            {"payment_id": payment, "status": "SUCCEEDED", "currency_code": "EUR"},
        )

    def test_of_an_unknown_payment_is_refused(self, payments: Any) -> None:
        payment = payments.new_id("pay")
        wanted = (NOT_FOUND, "PAYMENT_NOT_FOUND", {"payment_id": payment})
        assert refusal(payments.refund, payment, 1) == wanted


class TestReading:
    def test_is_for_the_customer_and_the_administrator(self, payments: Any) -> None:
        payment = payments.charge()
        request = GetPaymentRequest(payment_id=payment.payment_id)
        admin = payments.stub_of("usr_admin", "admin")
        assert admin.GetPayment(request) == payment
        stranger = payments.stub_of("usr_2", "customer")
        wanted = (NOT_FOUND, "PAYMENT_NOT_FOUND", {"payment_id": payment.payment_id})
        assert refusal(stranger.GetPayment, request) == wanted

    def test_of_an_unknown_payment_looks_the_same_as_of_a_strangers(self, payments: Any) -> None:
        wanted = (NOT_FOUND, "PAYMENT_NOT_FOUND", {"payment_id": "pay_none"})
        assert refusal(payments.get, "pay_none") == wanted


class TestOutstandingBalance:
    def test_adds_up_what_is_pending_in_each_currency(self, payments: Any) -> None:
        customer = payments.new_id("usr")
        first = payments.charge(customer_id=customer, minor=10_01)
        payments.charge(customer_id=customer, minor=20_02)
        payments.charge(customer_id=customer, amount=Money(currency_code="EUR", units=3))
        payments.charge(customer_id=customer, payment_method="pm_instant")
        payments.settle()
        admin = payments.stub_of("usr_admin", "admin")
        request = GetOutstandingBalanceRequest(user_id=customer)
        owed = admin.GetOutstandingBalance(request)
        assert owed.user_id == customer
        assert [(each.currency_code, each.units, each.nanos) for each in owed.balances] == [
            ("EUR", 3, 0),
            ("USD", 30, 30_000_000),
        ]
        payments.void(first.payment_id)
        own = payments.stub_of(customer).GetOutstandingBalance(request)
        assert [each.units for each in own.balances] == [3, 20]

    def test_of_somebody_without_payments_is_nothing(self, payments: Any) -> None:
        customer = payments.new_id("usr")
        request = GetOutstandingBalanceRequest(user_id=customer)
        assert not payments.stub_of(customer).GetOutstandingBalance(request).balances

    def test_of_somebody_else_is_none_of_your_business(self, payments: Any) -> None:
        refused = refusal(payments.balance, "usr_2")
        wanted = {"customer_id": "usr_2"}
        assert refused == (grpc.StatusCode.PERMISSION_DENIED, "CUSTOMER_MISMATCH", wanted)
