from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commerce.payments.v1.payment_pb2 import Payment
from commerce.payments.v1.payments_service_pb2 import (
    ChargeRequest,
    GetOutstandingBalanceRequest,
    GetPaymentRequest,
    ReceiveWebhookRequest,
    ReceiveWebhookResponse,
    RefundRequest,
    VoidRequest,
)
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub
from google.api.httpbody_pb2 import HttpBody
from google.type.money_pb2 import Money
from sqlalchemy import text

from emporium.payments import signature
from emporium.payments.cashier import Cashier
from emporium.payments.module import module
from emporium.payments.providers import Providers
from emporium.payments.reactions import ProviderReactions
from emporium.payments.settings import PaymentsSettings, ProviderSettings
from portico.app import Application
from portico.clock import ManualClock
from portico.data import Database
from portico.events import Events
from portico.testing.harness import TRANSPORTS, Harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message

    from portico.testing.servers import Databases

MIGRATIONS = Path(__file__).parents[3] / "migrations"
SECRETS = {"aurora": "whsec_of_aurora", "borealis": "whsec_of_borealis"}


def money(minor: int, currency_code: str = "USD") -> Money:
    units, rest = divmod(minor, 100)
    return Money(currency_code=currency_code, units=units, nanos=rest * 10_000_000)


@dataclass
class Payments:
    """The module seen by orders and by its customer ``usr_1``, and a look behind it."""

    stub: PaymentsServiceStub
    stub_of: Callable[..., PaymentsServiceStub]
    clock: ManualClock
    database: Database
    events: Events
    settings: PaymentsSettings
    settle: Callable[[], None]
    new_id: Callable[[str], str]

    def charge(self, payment_id: str = "", minor: int = 149_98, **changed: Any) -> Payment:
        payment_id = payment_id or self.new_id("pay")
        content = {
            "order_id": payment_id.replace("pay", "ord"),
            "customer_id": "usr_1",
            "amount": money(minor),
            "payment_method": "pm_visa_9832",
            "request_id": payment_id.replace("pay", "req"),
        }
        request = ChargeRequest(payment_id=payment_id, **(content | changed))
        return self.stub.Charge(request).payment

    def succeeded(self, minor: int = 149_98) -> Payment:
        """A new payment that the provider has confirmed at once."""
        payment_id = self.charge(minor=minor, payment_method="pm_instant").payment_id
        self.settle()
        payment = self.get(payment_id)
        assert payment.status == Payment.SUCCEEDED
        return payment

    def void(self, payment_id: str) -> None:
        self.stub.Void(VoidRequest(payment_id=payment_id))

    def refund(self, payment_id: str, minor: int, currency: str = "USD", key: str = "") -> Payment:
        amount, request_id = money(minor, currency), key or self.new_id("refund")
        request = RefundRequest(payment_id=payment_id, amount=amount, request_id=request_id)
        return self.stub.Refund(request).payment

    def get(self, payment_id: str) -> Payment:
        return self.stub.GetPayment(GetPaymentRequest(payment_id=payment_id))

    def status(self, payment_id: str) -> str:
        return str(Payment.Status.Name(self.get(payment_id).status))

    def balance(self, user_id: str) -> dict[str, int]:
        request = GetOutstandingBalanceRequest(user_id=user_id)
        balances = self.stub.GetOutstandingBalance(request).balances
        return {
            each.currency_code: each.units * 100 + each.nanos // 10_000_000 for each in balances
        }

    def news(self, payment: Payment, **changed: Any) -> dict[str, Any]:
        """What the provider reports when all went well."""
        return {
            "paymentId": payment.payment_id,
            "orderId": payment.order_id,
            "amount": 149.98,
            "status": "SUCCESS",
            "timestamp": "2026-01-01T00:00:00Z",
        } | changed

    def hear(self, payment: Payment, **changed: Any) -> ReceiveWebhookResponse:
        """Receive the provider's webhook about this payment, properly signed."""
        body = json.dumps(self.news(payment, **changed)).encode()
        return self.receive(body, self.signed(payment, body))

    def signed(self, payment: Payment, body: bytes) -> str:
        return signature.sign(body, secret=SECRETS[payment.provider], now=self.clock.now())

    def receive(self, body: bytes, *headers: str) -> ReceiveWebhookResponse:
        request = ReceiveWebhookRequest(payload=HttpBody(data=body))
        metadata = tuple(("x-webhook-signature", header) for header in headers)
        return self.stub.ReceiveWebhook(request, metadata=metadata)

    def published(self, kind: type[Message], payment_id: str) -> list[Any]:
        """The events of one kind about one payment, in order."""
        statement = "SELECT payload FROM payments.outbox WHERE type = :type AND aggregateid = :id ORDER BY sequence"
        rows = self.query(statement, type=kind.DESCRIPTOR.full_name, id=payment_id)
        return [kind.FromString(payload) for (payload,) in rows]

    def discrepancies(self, payment_id: str) -> list[tuple[Any, ...]]:
        """What a person has to look at."""
        statement = """SELECT kind, status, outcome, amount::text FROM payments.discrepancies
            WHERE payment_id = :id ORDER BY discrepancy_id"""
        return [tuple(row) for row in self.query(statement, id=payment_id)]

    def accounts(self, payment_id: str) -> dict[str, int]:
        """What each account of the ledger has from one payment."""
        statement = """SELECT account, sum(amount_minor)::bigint FROM payments.postings
            WHERE payment_id = :id GROUP BY account HAVING sum(amount_minor) <> 0"""
        return {row[0]: row[1] for row in self.query(statement, id=payment_id)}

    def query(self, statement: str, **parameters: Any) -> list[Any]:
        with self.database.reading() as session:
            return list(session.execute(text(statement), parameters))

    def reactions(self, providers: Providers) -> ProviderReactions:
        """The module's reactions with other providers."""
        cashier = Cashier(events=self.events, clock=self.clock)
        return ProviderReactions(
            database=self.database, cashier=cashier, providers=providers, clock=self.clock
        )


@pytest.fixture(scope="session")
def settings() -> PaymentsSettings:
    return PaymentsSettings(
        aurora=ProviderSettings.model_validate({"webhook_secret": SECRETS["aurora"]}),
        borealis=ProviderSettings.model_validate({"webhook_secret": SECRETS["borealis"]}),
        simulate=True,
    )


@pytest.fixture(scope="session")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def harness(
    databases: Databases, clock: ManualClock, settings: PaymentsSettings
) -> Iterator[Harness]:
    application = Application(name="payments-alone", modules=[module], migrations=MIGRATIONS)
    url = databases.migrated(["payments"], folder=MIGRATIONS)
    values: dict[str, Any] = {
        "database_url": url.render_as_string(hide_password=False),
        "payments": settings,
    }
    chosen = application.settings_class()(**values)
    with Harness(application, chosen, clock=clock) as started:
        yield started


@pytest.fixture(scope="session")
def make_payments(
    harness: Harness, clock: ManualClock, settings: PaymentsSettings
) -> Callable[[Any], Payments]:
    numbers = count(1)

    def make(over: Any) -> Payments:
        assert harness.program.storage is not None
        provided: dict[type, Any] = dict(harness.program.storage.provided(module))

        def stub_of(user: str = "", *roles: str, caller: str = "") -> PaymentsServiceStub:
            return harness.stub(PaymentsServiceStub, over, user=user, roles=roles, caller=caller)

        return Payments(
            stub=stub_of("usr_1", caller="orders"),
            stub_of=stub_of,
            clock=clock,
            database=provided[Database],
            events=provided[Events],
            settings=settings,
            settle=harness.settle,
            new_id=lambda prefix: f"{prefix}_t{next(numbers)}",
        )

    return make


@pytest.fixture(params=TRANSPORTS)
def payments(make_payments: Callable[[Any], Payments], request: pytest.FixtureRequest) -> Payments:
    """The module, over each transport in turn."""
    return make_payments(request.param)


@pytest.fixture(scope="session")
def till(make_payments: Callable[[Any], Payments]) -> Payments:
    """The module over the local channel, for what does not depend on the transport."""
    return make_payments("local")
