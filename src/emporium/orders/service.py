"""The servicer of orders: one method per rpc."""

from __future__ import annotations

from datetime import datetime

import grpc
from commerce.catalog.v1.catalog_service_pb2 import BatchGetPricesRequest
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from commerce.orders.v1 import order_pb2
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1.orders_service_pb2_grpc import OrdersServiceServicer

from emporium.orders import model, store, wire
from emporium.orders.model import CancelReason, Order, Position, Request, run_key
from emporium.orders.settings import OrdersSettings
from emporium.orders.workflows import Cancelling, CancelOrder, PlaceOrder, Placing
from portico.clock import Clock
from portico.context import Identity, current
from portico.data import Database
from portico.errors import StatusError
from portico.ids import Ids

_DEFAULT_PAGE_SIZE = 20
_LARGEST_PAGE_SIZE = 100


class OrdersService(OrdersServiceServicer):
    """Quotes, places, shows, lists and cancels orders."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        ids: Ids,
        settings: OrdersSettings,
        catalog: CatalogServiceStub,
        place_order: PlaceOrder,
        cancel_order: CancelOrder,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._catalog = catalog
        self._place_order = place_order
        self._cancel_order = cancel_order

    def QuoteOrder(
        self, request: rpc.QuoteOrderRequest, context: grpc.ServicerContext
    ) -> rpc.QuoteOrderResponse:
        items = wire.items_of(request)
        wanted = BatchGetPricesRequest(
            product_ids=[item.product_id for item in items], currency_code=self._settings.currency
        )
        lines = wire.lines_of(items, self._catalog.BatchGetPrices(wanted).prices)
        return wire.quoted(lines, self._settings.currency)

    def PlaceOrder(
        self, request: rpc.PlaceOrderRequest, context: grpc.ServicerContext
    ) -> rpc.PlaceOrderResponse:
        _check_customer(request.customer_id, current().identity)
        asked = wire.placing(request)
        earlier = self._answered(asked)
        if earlier is not None:
            return wire.placed(earlier)
        state = self._placing(request, asked)
        try:
            state = self._place_order.run(state, key=run_key(asked, order_id=state.order_id))
        except StatusError as refusal:
            if refusal.reason != model.REQUEST_ID_REUSED:
                raise
            # The same request came twice at one moment and the other one was faster.
            earlier = self._answered(asked)
            if earlier is None:
                raise
            return wire.placed(earlier)
        return wire.placed(state.order())

    def GetOrder(
        self, request: rpc.GetOrderRequest, context: grpc.ServicerContext
    ) -> order_pb2.Order:
        return wire.order_message(self._visible(request.order_id, current().identity))

    def ListOrders(
        self, request: rpc.ListOrdersRequest, context: grpc.ServicerContext
    ) -> rpc.ListOrdersResponse:
        customer_id = _listed(request.customer_id, current().identity)
        after = wire.position_of(request.page_token, customer_id=customer_id)
        size = min(request.page_size or _DEFAULT_PAGE_SIZE, _LARGEST_PAGE_SIZE)
        with self._database.reading() as session:
            found = store.page(session, customer_id=customer_id, after=after, limit=size + 1)
        return rpc.ListOrdersResponse(
            orders=[wire.order_message(order) for order in found[:size]],
            next_page_token=_next_token(found, size, customer_id),
        )

    def CancelOrder(
        self, request: rpc.CancelOrderRequest, context: grpc.ServicerContext
    ) -> order_pb2.Order:
        order = self._visible(request.order_id, current().identity)
        self._cancel_order.run(
            Cancelling(
                order_id=order.order_id,
                reason=CancelReason.REQUESTED.value,
                at=int(self._now().timestamp()),
                request_id=request.request_id,
            )
        )
        return wire.order_message(self._visible(request.order_id, current().identity))

    def _placing(self, request: rpc.PlaceOrderRequest, asked: Request) -> Placing:
        return Placing(
            order_id=self._ids.new("ord"),
            payment_id=self._ids.new("pay"),
            customer_id=asked.customer_id,
            payment_method=request.payment_method,
            request_id=asked.request_id,
            fingerprint=asked.fingerprint,
            currency=self._settings.currency,
            placed_at=int(self._now().timestamp()),
            product_ids=[item.product_id for item in request.items],
            quantities=[item.quantity for item in request.items],
        )

    def _answered(self, asked: Request) -> Order | None:
        """The order that answers this request already. Raises REQUEST_ID_REUSED when it asked for another."""
        if not asked.request_id:
            return None
        with self._database.reading() as session:
            found = store.answered(session, asked)
        if found is None:
            return None
        order, fingerprint = found
        if fingerprint != asked.fingerprint:
            raise model.request_id_reused(asked)
        return order

    def _visible(self, order_id: str, identity: Identity) -> Order:
        with self._database.reading() as session:
            order = store.find(session, order_id)
        if order is None or not model.may_see(order.customer_id, identity):
            raise model.order_not_found(order_id)
        return order

    def _now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)


def _check_customer(customer_id: str, identity: Identity) -> None:
    if not model.may_see(customer_id, identity):
        raise model.customer_mismatch(customer_id)


def _listed(customer_id: str, identity: Identity) -> str:
    """Whose orders to list; empty for everybody's."""
    if not customer_id:
        return "" if model.ADMIN in identity.roles else identity.subject
    _check_customer(customer_id, identity)
    return customer_id


def _next_token(found: list[Order], size: int, customer_id: str) -> str:
    if len(found) <= size:
        return ""
    last = found[size - 1]
    position = Position(last.created_at, last.order_id)
    return wire.page_token(position, customer_id=customer_id)
