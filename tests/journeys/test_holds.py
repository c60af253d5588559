"""What becomes of an order when the time of its hold runs out; the clock is moved by hand."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import psycopg
import pytest
from commerce.catalog.v1.catalog_service_pb2 import CreateProductRequest
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from commerce.inventory.v1.inventory_service_pb2 import AdjustStockRequest, GetStockRequest
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1.order_pb2 import Order
from commerce.orders.v1.orders_service_pb2_grpc import OrdersServiceStub
from commerce.payments.v1.payment_pb2 import Payment
from commerce.payments.v1.payments_service_pb2 import GetPaymentRequest, ReceiveWebhookRequest
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub
from google.api.httpbody_pb2 import HttpBody
from google.type.money_pb2 import Money

from emporium.app import application
from portico.clock import ManualClock
from portico.errors import StatusError
from portico.testing.harness import Harness
from portico.testing.servers import Databases
from tests.journeys import invariants

HOLD_SECONDS = 900


class Shop:
    """The whole application in this process, with everybody in it."""

    def __init__(self, harness: Harness, clock: ManualClock, address: str) -> None:
        self._harness = harness
        self.clock = clock
        self.settle = harness.settle
        self._address = address
        self._numbers = count(1)

    def _stub(self, kind: Callable[..., Any], user: str, *roles: str) -> Any:
        return self._harness.stub(kind, "local", user=user, roles=roles)

    def product(self, pieces: int) -> str:
        price = Money(currency_code="USD", units=25)
        created = self._stub(CatalogServiceStub, "usr_admin", "admin").CreateProduct(
            CreateProductRequest(title="The last", price=price)
        )
        product_id: str = created.product_id
        inventory = self._stub(InventoryServiceStub, "usr_admin", "admin")
        inventory.AdjustStock(AdjustStockRequest(product_id=product_id, delta=pieces))
        return product_id

    def place(self, product_id: str) -> Order:
        """One piece, for a customer of its own."""
        customer = f"usr_{next(self._numbers)}"
        item = rpc.ItemRequest(product_id=product_id, quantity=1)
        request = rpc.PlaceOrderRequest(
            customer_id=customer, items=[item], payment_method="pm_visa_9832"
        )
        placed = self._stub(OrdersServiceStub, customer).PlaceOrder(request)
        return self.order(placed.order_id)

    def order(self, order_id: str) -> Order:
        orders = self._stub(OrdersServiceStub, "usr_admin", "admin")
        found: Order = orders.GetOrder(rpc.GetOrderRequest(order_id=order_id))
        return found

    def payment(self, order: Order) -> int:
        payments = self._stub(PaymentsServiceStub, "usr_admin", "admin")
        request = GetPaymentRequest(payment_id=order.payment_id)
        status: int = payments.GetPayment(request).status
        return status

    def stock(self, product_id: str) -> tuple[int, int]:
        inventory = self._stub(InventoryServiceStub, "usr_admin", "admin")
        stock = inventory.GetStock(GetStockRequest(product_id=product_id))
        return stock.on_hand, stock.reserved

    def pay(self, order: Order) -> int:
        """The provider says that it has the money; the answer is where the payment stands."""
        content = {
            "paymentId": order.payment_id,
            "orderId": order.order_id,
            "amount": order.total_amount,
            "status": "SUCCESS",
        }
        body, at = json.dumps(content).encode(), int(self.clock.now().timestamp())
        digest = hmac.new(b"whsec_demo", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        answer = self._stub(PaymentsServiceStub, "").ReceiveWebhook(
            ReceiveWebhookRequest(payload=HttpBody(data=body)),
            metadata=(("x-webhook-signature", f"t={at},v1={digest}"),),
        )
        status: int = answer.status
        return status

    def violations(self) -> list[str]:
        with psycopg.connect(self._address, autocommit=True) as outside:
            return invariants.violations(outside, settled=True)


@pytest.fixture(scope="module")
def shop(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    owners = [module.name for module in application.modules if module.owns_data]
    url = databases.migrated(owners, folder=application.migrations)
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = application.settings_class().load(
        environment={
            "PORTICO_DATABASE_URL": address,
            "PORTICO_DEMO": "true",
            "PORTICO_ORDERS__HOLD_SECONDS": str(HOLD_SECONDS),
            "PORTICO_AUTH__ARGON2_PASSES": "1",
            "PORTICO_AUTH__ARGON2_MEMORY_KIB": "32",
        },
        folder=tmp_path_factory.mktemp("no_configuration"),
    )
    clock = ManualClock()
    with Harness(application, settings, clock=clock) as harness:
        yield Shop(harness, clock, address)


def test_an_unpaid_order_makes_room_for_the_next_buyer_when_its_time_is_over(shop: Shop) -> None:
    product_id = shop.product(1)
    first = shop.place(product_id)
    with pytest.raises(StatusError, match="INSUFFICIENT_STOCK"):
        shop.place(product_id)

    shop.clock.advance(seconds=HOLD_SECONDS + 1)
    second = shop.place(product_id)
    shop.settle()

    ended = shop.order(first.order_id)
    assert (ended.status, ended.cancel_reason) == (Order.CANCELLED, Order.HOLD_EXPIRED)
    assert shop.payment(first) == Payment.VOIDED
    assert shop.order(second.order_id).status == Order.CREATED
    assert shop.stock(product_id) == (1, 1)
    assert shop.violations() == []


def test_money_that_comes_for_an_order_whose_time_was_over_is_not_taken(shop: Shop) -> None:
    product_id = shop.product(1)
    first = shop.place(product_id)
    shop.clock.advance(seconds=HOLD_SECONDS + 1)
    shop.place(product_id)
    shop.settle()

    assert shop.pay(first) == Payment.VOIDED
    shop.settle()

    assert shop.order(first.order_id).status == Order.CANCELLED
    assert shop.violations() == []


def test_an_order_that_is_paid_late_keeps_its_pieces_if_nobody_wanted_them(shop: Shop) -> None:
    product_id = shop.product(1)
    order = shop.place(product_id)
    shop.clock.advance(seconds=HOLD_SECONDS + 1)

    assert shop.pay(order) == Payment.SUCCEEDED
    shop.settle()

    assert shop.order(order.order_id).status == Order.PAID
    assert shop.stock(product_id) == (0, 0)
    assert shop.violations() == []


def test_money_goes_back_when_the_pieces_went_to_somebody_else_before_anybody_heard_of_it(
    shop: Shop,
) -> None:
    product_id = shop.product(1)
    first = shop.place(product_id)
    shop.clock.advance(seconds=HOLD_SECONDS + 1)
    assert shop.pay(first) == Payment.SUCCEEDED
    second = shop.place(product_id)

    shop.settle()

    ended = shop.order(first.order_id)
    assert (ended.status, ended.cancel_reason) == (Order.CANCELLED, Order.HOLD_EXPIRED)
    assert shop.payment(first) == Payment.REFUNDED
    assert shop.order(second.order_id).status == Order.CREATED
    assert shop.stock(product_id) == (1, 1)
    assert shop.violations() == []
