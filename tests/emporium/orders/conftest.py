"""Orders alone: its neighbours are small servicers that keep their contracts in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import punq
import pytest
from commerce.catalog.v1 import catalog_service_pb2 as catalog_rpc
from commerce.catalog.v1.catalog_service_pb2_grpc import (
    CatalogServiceServicer,
    add_CatalogServiceServicer_to_server,
)
from commerce.inventory.v1 import inventory_service_pb2 as inventory_rpc
from commerce.inventory.v1.inventory_service_pb2_grpc import (
    InventoryServiceServicer,
    add_InventoryServiceServicer_to_server,
)
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1.order_pb2 import Order
from commerce.orders.v1.orders_service_pb2_grpc import OrdersServiceStub
from commerce.payments.v1 import payments_service_pb2 as payments_rpc
from commerce.payments.v1.payments_service_pb2_grpc import (
    PaymentsServiceServicer,
    add_PaymentsServiceServicer_to_server,
)
from google.protobuf.message import Message
from google.type.money_pb2 import Money
from sqlalchemy import text

from emporium.orders.module import module
from portico import errors
from portico.app import Application
from portico.clock import ManualClock
from portico.data import Database
from portico.events import Events
from portico.module import Module
from portico.testing.harness import TRANSPORTS, Harness, Transport
from portico.testing.servers import Databases

MIGRATIONS = Path(__file__).parents[3] / "migrations"
START = datetime(2026, 5, 29, 13, 7, 0, 250_000, tzinfo=UTC)


class Catalog(CatalogServiceServicer):
    """Prices in cents; all in dollars."""

    def __init__(self) -> None:
        self.prices = {"prod_7721": 7499, "prod_cent": 1, "prod_lamp": 1050}

    def BatchGetPrices(
        self, request: catalog_rpc.BatchGetPricesRequest, context: object
    ) -> catalog_rpc.BatchGetPricesResponse:
        answer = catalog_rpc.BatchGetPricesResponse()
        for product_id in request.product_ids:
            cents = self.prices.get(product_id)
            if cents is None:
                raise errors.not_found(
                    "PRODUCT_NOT_FOUND", "no such product", product_id=product_id
                )
            if cents == 0:
                raise errors.failed_precondition(
                    "PRODUCT_NOT_PRICED", "no price", product_id=product_id
                )
            price = Money(
                currency_code=request.currency_code,
                units=cents // 100,
                nanos=cents % 100 * 10_000_000,
            )
            answer.prices.add(product_id=product_id, title=f"The {product_id}", price=price)
        return answer


class Inventory(InventoryServiceServicer):
    """Remembers what is held; has plenty of everything but what ``scarce`` names."""

    def __init__(self) -> None:
        self.scarce = {"prod_scarce"}
        self.held: dict[str, dict[str, int]] = {}
        self.hold_seconds: dict[str, int] = {}
        self.released: list[str] = []

    def Reserve(
        self, request: inventory_rpc.ReserveRequest, context: object
    ) -> inventory_rpc.ReserveResponse:
        for line in request.lines:
            if line.product_id in self.scarce:
                raise errors.failed_precondition(
                    "INSUFFICIENT_STOCK",
                    "not enough of it",
                    product_id=line.product_id,
                    quantity=line.quantity,
                    available=0,
                )
        self.held[request.reservation_id] = {
            line.product_id: line.quantity for line in request.lines
        }
        self.hold_seconds[request.reservation_id] = request.hold_seconds
        return inventory_rpc.ReserveResponse()

    def Release(
        self, request: inventory_rpc.ReleaseRequest, context: object
    ) -> inventory_rpc.ReleaseResponse:
        self.held.pop(request.reservation_id, None)
        self.released.append(request.reservation_id)
        return inventory_rpc.ReleaseResponse()


@dataclass
class Payment:
    order_id: str
    customer_id: str
    cents: int
    request_id: str
    status: str = "PENDING"
    refunds: dict[str, int] = field(default_factory=dict)


class Payments(PaymentsServiceServicer):
    """Opens, voids and refunds; the provider's answer is set by ``succeed``."""

    def __init__(self) -> None:
        self.payments: dict[str, Payment] = {}
        self._lock = threading.Lock()

    def succeed(self, payment_id: str) -> bool:
        with self._lock:
            payment = self.payments[payment_id]
            if payment.status != "PENDING":
                return False
            payment.status = "SUCCEEDED"
            return True

    def Charge(
        self, request: payments_rpc.ChargeRequest, context: object
    ) -> payments_rpc.ChargeResponse:
        if request.payment_method == "pm_unknown":
            raise errors.not_found(
                "PAYMENT_METHOD_NOT_FOUND",
                "nobody knows it",
                payment_method=request.payment_method,
            )
        cents = request.amount.units * 100 + request.amount.nanos // 10_000_000
        self.payments[request.payment_id] = Payment(
            request.order_id, request.customer_id, cents, request.request_id
        )
        return payments_rpc.ChargeResponse()

    def Void(self, request: payments_rpc.VoidRequest, context: object) -> payments_rpc.VoidResponse:
        with self._lock:
            payment = self.payments.get(request.payment_id)
            if payment is not None and payment.status == "PENDING":
                payment.status = "VOIDED"
            elif payment is not None and payment.status in ("SUCCEEDED", "REFUNDED"):
                raise errors.failed_precondition(
                    "PAYMENT_NOT_VOIDABLE", "taken already", payment_id=request.payment_id
                )
        return payments_rpc.VoidResponse()

    def Refund(
        self, request: payments_rpc.RefundRequest, context: object
    ) -> payments_rpc.RefundResponse:
        with self._lock:
            payment = self.payments[request.payment_id]
            cents = request.amount.units * 100 + request.amount.nanos // 10_000_000
            if payment.refunds.setdefault(request.request_id, cents) != cents:
                raise errors.already_exists("REQUEST_ID_REUSED", "another amount")
            if sum(payment.refunds.values()) > payment.cents:
                raise errors.failed_precondition("REFUND_TOO_LARGE", "more than was taken")
            payment.status = "REFUNDED"
        return payments_rpc.RefundResponse()


@dataclass
class Shop:
    """The module over one transport, its neighbours, and a look behind it."""

    harness: Harness
    over: Transport
    clock: ManualClock
    catalog: Catalog
    inventory: Inventory
    payments: Payments
    database: Database
    events: Events
    new_customer: Callable[[], str]

    def stub(self, user: str, *roles: str) -> OrdersServiceStub:
        return self.harness.stub(OrdersServiceStub, self.over, user=user, roles=roles)

    def place(self, user: str, /, **changed: Any) -> rpc.PlaceOrderResponse:
        """Two kettles, unless told otherwise."""
        return self.stub(user).PlaceOrder(self.basket(user, **changed))

    def basket(self, user: str, /, **changed: Any) -> rpc.PlaceOrderRequest:
        items = changed.pop("items", {"prod_7721": 2})
        content = {"customer_id": user, "payment_method": "pm_visa_9832"} | changed
        request = rpc.PlaceOrderRequest(**content)
        for product_id, quantity in items.items():
            request.items.add(product_id=product_id, quantity=quantity)
        return request

    def get(self, user: str, order_id: str) -> Order:
        return self.stub(user).GetOrder(rpc.GetOrderRequest(order_id=order_id))

    def cancel(self, user: str, order_id: str, request_id: str = "") -> Order:
        request = rpc.CancelOrderRequest(order_id=order_id, request_id=request_id)
        return self.stub(user).CancelOrder(request)

    def listed(self, user: str, *roles: str, **request: Any) -> rpc.ListOrdersResponse:
        return self.stub(user, *roles).ListOrders(rpc.ListOrdersRequest(**request))

    def payment(self, order_id: str) -> Payment:
        (found,) = [each for each in self.payments.payments.values() if each.order_id == order_id]
        return found

    def hear(self, event: Message) -> None:
        """Have orders hear of an event; in whose outbox it lies makes no difference to the relay."""
        self.publish(event)
        self.harness.settle()

    def publish(self, event: Message) -> None:
        with self.database.unit_of_work() as session:
            self.events.publish(session, event, aggregate_id="neighbour")

    def told(self, kind: type[Message], order_id: str) -> list[Any]:
        """What orders published of one kind about one order, in order."""
        statement = "SELECT payload FROM orders.outbox WHERE type = :type AND aggregateid = :id ORDER BY sequence"
        rows = self.query(statement, type=kind.DESCRIPTOR.full_name, id=order_id)
        return [kind.FromString(row.payload) for row in rows]

    def query(self, statement: str, **parameters: Any) -> list[Any]:
        with self.database.reading() as session:
            return list(session.execute(text(statement), parameters))

    def force(self, order_id: str, status: str) -> None:
        """Move an order to where no rpc of today brings it."""
        with self.database.unit_of_work() as session:
            session.execute(
                text("UPDATE orders.orders SET status = :status WHERE order_id = :id"),
                {"status": status, "id": order_id},
            )


@pytest.fixture(scope="session")
def make_shop(databases: Databases) -> Iterator[Callable[[Transport], Shop]]:
    # What orders never calls is missing.
    catalog = Catalog()  # type: ignore[abstract]
    inventory = Inventory()  # type: ignore[abstract]
    payments = Payments()  # type: ignore[abstract]
    neighbours = [
        _module("catalog", add_CatalogServiceServicer_to_server, catalog),
        _module("inventory", add_InventoryServiceServicer_to_server, inventory),
        _module("payments", add_PaymentsServiceServicer_to_server, payments),
    ]
    application = Application(
        name="orders-alone", modules=[module, *neighbours], migrations=MIGRATIONS
    )
    url = databases.migrated(["orders"], folder=MIGRATIONS)
    settings = application.settings_class()(
        database_url=url.render_as_string(hide_password=False), database_pool_timeout_seconds=30
    )
    clock = ManualClock(START)
    numbers = count(1)
    with Harness(application, settings, clock=clock) as harness:
        assert harness.program.storage is not None
        provided = harness.program.storage.provided(module)

        def make(over: Transport) -> Shop:
            return Shop(
                harness=harness,
                over=over,
                clock=clock,
                catalog=catalog,
                inventory=inventory,
                payments=payments,
                database=provided[Database],  # type: ignore[arg-type]
                events=provided[Events],  # type: ignore[arg-type]
                new_customer=lambda: f"usr_{next(numbers)}",
            )

        yield make


def _module(name: str, add: Any, servicer: object) -> Module:
    def wire(container: punq.Container) -> None:
        container.register(type(servicer), instance=servicer)

    return Module(name=name, provides={add: type(servicer)}, wire=wire)


@pytest.fixture(params=TRANSPORTS)
def shop(make_shop: Callable[[Transport], Shop], request: pytest.FixtureRequest) -> Shop:
    """Over each transport in turn."""
    return make_shop(request.param)


@pytest.fixture(scope="session")
def counter(make_shop: Callable[[Transport], Shop]) -> Shop:
    """Over the local channel, for what does not depend on the transport."""
    return make_shop("local")


@pytest.fixture
def customer(counter: Shop) -> str:
    """Somebody who has ordered nothing yet."""
    return counter.new_customer()
