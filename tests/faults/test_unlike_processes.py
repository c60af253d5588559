"""Two processes on one database that were not set up alike: one lacks the demonstration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import psycopg
import pytest
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1.order_pb2 import Order
from commerce.orders.v1.orders_service_pb2_grpc import OrdersServiceStub
from sqlalchemy import URL

from emporium.app import application
from emporium.payments.model import Outcome
from emporium.payments.providers import SimulatedProvider
from portico.clock import ManualClock
from portico.testing.harness import Harness
from portico.testing.servers import Databases
from tests.journeys import invariants

CUSTOMER = "usr_8923a10f"
METHODS = {"pm_visa_9832": "CREATED", "pm_instant": "PAID", "pm_declined": "CANCELLED"}
"""How an order with each of them stands once its payment was asked for by who knows it."""


class Shop(NamedTuple):
    """An app with the demonstration and a worker without; neither delivers before it is told to."""

    app: Harness
    worker: Harness
    clock: ManualClock
    url: URL

    @property
    def orders(self) -> OrdersServiceStub:
        return self.app.stub(OrdersServiceStub, "local", user=CUSTOMER)

    def place(self, payment_method: str) -> str:
        request = rpc.PlaceOrderRequest(
            customer_id=CUSTOMER,
            items=[rpc.ItemRequest(product_id="prod_7721", quantity=1)],
            payment_method=payment_method,
        )
        return str(self.orders.PlaceOrder(request).order_id)

    def statuses(self, placed: dict[str, str]) -> dict[str, str]:
        """By payment method."""
        return {method: self._status(order_id) for method, order_id in placed.items()}

    def _status(self, order_id: str) -> str:
        order = self.orders.GetOrder(rpc.GetOrderRequest(order_id=order_id))
        return str(Order.Status.Name(order.status))

    def violations(self) -> list[str]:
        host, name = self.url.query["host"], self.url.database
        with psycopg.connect(
            host=str(host), user=self.url.username, dbname=name, autocommit=True
        ) as outside:
            return invariants.violations(outside)


@pytest.fixture
def shop(databases: Databases, tmp_path: Any) -> Iterator[Shop]:
    owners = [module.name for module in application.modules if module.owns_data]
    url, clock = databases.migrated(owners, folder=application.migrations), ManualClock()

    def start(demo: str) -> Harness:
        settings = application.settings_class().load(
            environment={
                "PORTICO_DATABASE_URL": url.render_as_string(hide_password=False),
                "PORTICO_DEMO": demo,
                "PORTICO_AUTH__ARGON2_PASSES": "1",
                "PORTICO_AUTH__ARGON2_MEMORY_KIB": "32",
            },
            folder=tmp_path,
        )
        return stack.enter_context(Harness(application, settings, clock=clock))

    with ExitStack() as stack:
        yield Shop(start("true"), start("false"), clock, url)


def deliver_in_turn(shop: Shop, *turns: Callable[[], None]) -> None:
    for turn in turns:
        turn()
        shop.clock.advance(seconds=10)


def test_a_worker_that_does_not_know_the_payment_methods_cancels_no_order(shop: Shop) -> None:
    placed = {method: shop.place(method) for method in METHODS}

    deliver_in_turn(shop, *[shop.worker.settle] * 2)

    assert shop.statuses(placed) == dict.fromkeys(METHODS, "CREATED")
    assert shop.violations() == []

    deliver_in_turn(shop, shop.app.settle, shop.worker.settle, shop.app.settle)

    assert shop.statuses(placed) == METHODS
    assert shop.violations() == []


def test_a_planted_provider_that_declines_what_it_does_not_know_is_found(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def charge(provider: SimulatedProvider, payment: Any) -> Outcome | None:
        return provider.methods.get(payment.payment_method, Outcome.FAILED)

    monkeypatch.setattr(SimulatedProvider, "charge", charge)
    placed = {method: shop.place(method) for method in METHODS}

    deliver_in_turn(shop, shop.worker.settle)

    assert shop.statuses(placed) == dict.fromkeys(METHODS, "CANCELLED")
