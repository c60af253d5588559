"""Placing an order: priced, its stock held and its payment open, all together or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from commerce.catalog.v1.catalog_service_pb2 import BatchGetPricesRequest
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from commerce.inventory.v1.inventory_service_pb2 import ReleaseRequest, ReserveRequest
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from commerce.inventory.v1.reservation_pb2 import ReservationLine
from commerce.payments.v1.payments_service_pb2 import ChargeRequest
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub

from emporium.orders import store, wire
from emporium.orders.model import (
    PLACE_ORDER,
    CancelReason,
    Line,
    Operation,
    Order,
    Request,
    Status,
)
from emporium.orders.settings import OrdersSettings
from emporium.orders.workflows import money
from portico.data import Database
from portico.events import Events
from portico.workflow import Step, Workflow, Workflows, step_key


@dataclass
class Placing:
    """The state of ``orders.place_order``: plain data, so that it can be written to a log.

    The lists run in parallel, one entry per line; the first step fills in titles and prices (minor
    units). ``placed_at`` is in seconds since 1970.
    """

    order_id: str
    payment_id: str
    customer_id: str
    payment_method: str
    request_id: str
    fingerprint: str
    currency: str
    placed_at: int
    product_ids: list[str]
    quantities: list[int]
    titles: list[str] = field(default_factory=list)
    unit_prices: list[int] = field(default_factory=list)

    def order(self) -> Order:
        """The order as it is placed; known once it is priced."""
        at = datetime.fromtimestamp(self.placed_at, UTC)
        columns = zip(self.product_ids, self.titles, self.quantities, self.unit_prices, strict=True)
        return Order(
            order_id=self.order_id,
            customer_id=self.customer_id,
            status=Status.CREATED,
            lines=tuple(Line(*line) for line in columns),
            currency=self.currency,
            payment_method=self.payment_method,
            payment_id=self.payment_id,
            created_at=at,
            updated_at=at,
        )

    def request(self) -> Request:
        """The request that the order answers."""
        return Request(
            customer_id=self.customer_id,
            operation=Operation.PLACE,
            request_id=self.request_id,
            fingerprint=self.fingerprint,
        )


class PlaceOrder:
    """``orders.place_order``, with its steps."""

    def __init__(
        self,
        *,
        workflows: Workflows,
        database: Database,
        events: Events,
        settings: OrdersSettings,
        catalog: CatalogServiceStub,
        inventory: InventoryServiceStub,
        payments: PaymentsServiceStub,
    ) -> None:
        self._workflows = workflows
        self._database = database
        self._events = events
        self._settings = settings
        self._catalog = catalog
        self._inventory = inventory
        self._payments = payments
        workflow = Workflow(
            name=PLACE_ORDER,
            version=1,
            steps=[
                Step("price", self._price, at=CatalogServiceStub, query=True),
                Step("order", self._create, undo=self._give_up),
                Step("stock", self._reserve, undo=self._release, at=InventoryServiceStub),
                Step("payment", self._charge, undo=self._settle, at=PaymentsServiceStub),
                # Last, because only now is it true: the stock is held and the payment open.
                Step("announce", self._announce),
            ],
            subject=lambda state: state.order_id,
        )
        self.workflow = workflows.define(workflow, state=Placing)

    def run(self, state: Placing, *, key: str) -> Placing:
        """Place the order; what a module refuses comes out of here as it is."""
        return self._workflows.run(self.workflow, state, key=key)

    def _price(self, state: Placing) -> None:
        answer = self._catalog.BatchGetPrices(
            BatchGetPricesRequest(product_ids=state.product_ids, currency_code=state.currency)
        )
        state.titles = [each.title for each in answer.prices]
        state.unit_prices = [wire.minor_of(each.price) for each in answer.prices]

    def _create(self, state: Placing) -> None:
        with self._database.unit_of_work() as session:
            store.add(session, state.order(), state.request())

    def _give_up(self, state: Placing) -> None:
        """End the order, and set its request_id free for another attempt.

        Nobody was told of the order before, and nobody else has moved it: it was being placed.
        """
        with self._database.unit_of_work() as session:
            order = store.lock_unplaced(session, state.order_id)
            if order is None or order.status is Status.CANCELLED:
                return
            given_up = order.cancelled(CancelReason.NOT_PLACED, at=order.updated_at)
            store.save(session, given_up)
            store.forget_request(session, order_id=order.order_id)
            event = wire.order_cancelled(given_up, was_paid=order.status is Status.PAID)
            self._events.publish(session, event, aggregate_id=order.order_id)

    def _reserve(self, state: Placing) -> None:
        self._inventory.Reserve(
            ReserveRequest(
                reservation_id=state.order_id,
                lines=[
                    ReservationLine(product_id=product_id, quantity=quantity)
                    for product_id, quantity in zip(
                        state.product_ids, state.quantities, strict=True
                    )
                ],
                hold_seconds=self._settings.hold_seconds,
            )
        )

    def _release(self, state: Placing) -> None:
        self._inventory.Release(ReleaseRequest(reservation_id=state.order_id))

    def _charge(self, state: Placing) -> None:
        self._payments.Charge(
            ChargeRequest(
                payment_id=state.payment_id,
                order_id=state.order_id,
                customer_id=state.customer_id,
                amount=wire.money(state.order().total, state.currency),
                payment_method=state.payment_method,
                request_id=step_key(),
            )
        )

    def _settle(self, state: Placing) -> None:
        money.void_or_refund(
            self._payments,
            payment_id=state.payment_id,
            order_id=state.order_id,
            amount=state.order().total,
            currency=state.currency,
        )

    def _announce(self, state: Placing) -> None:
        with self._database.unit_of_work() as session:
            event = wire.order_placed(state.order())
            self._events.publish(session, event, aggregate_id=state.order_id)
