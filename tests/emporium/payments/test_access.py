"""Who may call what of payments, and what its settings hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from commerce.payments.v1.payments_service_pb2 import (
    ChargeRequest,
    GetOutstandingBalanceRequest,
    GetPaymentRequest,
    ReceiveWebhookRequest,
    RefundRequest,
    VoidRequest,
)
from google.api.httpbody_pb2 import HttpBody
from google.type.money_pb2 import Money

from emporium.payments.module import module
from emporium.payments.settings import PaymentsSettings
from portico.app import Application
from portico.errors import StatusError
from portico.settings import SettingsError

MONEY = Money(currency_code="USD", units=1)
CHARGE = {
    "payment_id": "pay_1",
    "order_id": "ord_1",
    "customer_id": "usr_1",
    "amount": MONEY,
    "payment_method": "pm_instant",
    "request_id": "r",
}


def refused(call: Any, request: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        call(request)
    return caught.value


@pytest.mark.parametrize("over", ["local", "socket"])
def test_nobody_outside_charges_voids_or_refunds(make_payments: Any, over: str) -> None:
    admin = make_payments(over).stub_of("usr_admin", "admin")
    refund = RefundRequest(payment_id="pay_1", amount=MONEY, request_id="r")
    for error in (
        refused(admin.Charge, ChargeRequest(**CHARGE)),
        refused(admin.Void, VoidRequest(payment_id="pay_1")),
        refused(admin.Refund, refund),
    ):
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED


def test_nobody_sees_a_payment_or_a_balance_unless_signed_in(till: Any) -> None:
    payment, nobody = till.charge(), till.stub_of()
    error = refused(nobody.GetPayment, GetPaymentRequest(payment_id=payment.payment_id))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    error = refused(nobody.GetOutstandingBalance, GetOutstandingBalanceRequest(user_id="usr_1"))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_provider_needs_no_token(till: Any) -> None:
    request = ReceiveWebhookRequest(payload=HttpBody(data=b"{}"))
    assert refused(till.stub_of().ReceiveWebhook, request).reason == "WEBHOOK_SIGNATURE_INVALID"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount": Money(currency_code="USD")}, "amount"),
        ({"amount": Money(currency_code="USD", units=-1)}, "amount"),
        ({"amount": Money(currency_code="USD", units=1, nanos=1)}, "amount"),
        ({"amount": Money(currency_code="USD", units=10**12, nanos=10_000_000)}, "amount"),
        ({"amount": Money(currency_code="usd", units=1)}, "amount"),
        ({"payment_id": "order_1"}, "payment_id"),
        ({"payment_method": "a b"}, "payment_method"),
        ({"request_id": ""}, "request_id"),
    ],
)
def test_a_wrong_field_of_a_charge_is_refused_by_name(
    till: Any, changed: dict[str, Any], field: str
) -> None:
    error = refused(till.stub.Charge, ChargeRequest(**(CHARGE | changed)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [field]


@pytest.mark.parametrize("data", [b"", b"x" * 65_537])
def test_an_empty_or_huge_webhook_is_refused_unread(till: Any, data: bytes) -> None:
    request = ReceiveWebhookRequest(payload=HttpBody(data=data))
    error = refused(till.stub_of().ReceiveWebhook, request)
    assert [violation.field for violation in error.violations] == ["payload"]


SETTINGS = Application(name="payments-alone", modules=[module]).settings_class()


def section(environment: dict[str, str]) -> PaymentsSettings:
    found = SETTINGS.load(environment=environment, folder=Path(__file__).parent).section("payments")
    assert isinstance(found, PaymentsSettings)
    return found


def test_no_secret_and_no_simulation_unless_somebody_sets_them() -> None:
    settings = section({})
    assert settings.aurora.webhook_secret is None
    assert settings.borealis.webhook_secret is None
    assert not settings.simulate


def test_a_secret_comes_from_the_environment_and_does_not_print() -> None:
    settings = section({"PORTICO_PAYMENTS__AURORA__WEBHOOK_SECRET": "whsec_of_our_own"})
    assert settings.aurora.webhook_secret is not None
    assert settings.aurora.webhook_secret.get_secret_value() == "whsec_of_our_own"
    assert "whsec" not in repr(settings)


@pytest.mark.parametrize(
    "environment",
    [
        {"PORTICO_PAYMENTS__AURORA__WEBHOOK_SECRET": "short"},
        {"PORTICO_PAYMENTS__AURORA__WEIGHT": "-1"},
        {"PORTICO_PAYMENTS__AURORA__WEBHOOK_SECRTE": "whsec_of_our_own"},
    ],
)
def test_a_setting_that_cannot_be_meant_stops_the_start(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        section(environment)
    assert next(iter(environment)) in str(caught.value)
    assert "whsec_of_our_own" not in str(caught.value)
