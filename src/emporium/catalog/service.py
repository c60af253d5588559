"""The servicer of catalog."""

from __future__ import annotations

import grpc
from commerce.catalog.v1 import catalog_service_pb2 as messages
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceServicer
from commerce.catalog.v1.product_pb2 import Product

from emporium.catalog import model, store, wire
from portico.clock import Clock
from portico.data import Database
from portico.events import Events
from portico.ids import Ids


class CatalogService(CatalogServiceServicer):
    """Shows, adds and prices products."""

    def __init__(self, *, database: Database, events: Events, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._ids = ids

    def ListProducts(
        self, request: messages.ListProductsRequest, context: grpc.ServicerContext
    ) -> messages.ListProductsResponse:
        size, after = model.page_size(request.page_size), wire.place_of(request.page_token)
        with self._database.reading() as session:
            found = store.page(session, after=after, limit=size + 1)  # one more tells if it goes on
        page = found[:size]
        return messages.ListProductsResponse(
            products=map(wire.product_message, page),
            next_page_token=wire.page_token(page[-1].product_id) if len(found) > size else "",
        )

    def GetProduct(
        self, request: messages.GetProductRequest, context: grpc.ServicerContext
    ) -> Product:
        with self._database.reading() as session:
            product = store.find(session, request.product_id)
        if product is None:
            raise model.not_found(request.product_id)
        return wire.product_message(product)

    def CreateProduct(
        self, request: messages.CreateProductRequest, context: grpc.ServicerContext
    ) -> Product:
        draft = wire.draft(request)
        product = model.added(draft, product_id=self._ids.new("prod"), at=self._clock.now())
        with self._database.unit_of_work() as session:
            if store.add(session, product):
                event = wire.product_created(product)
                self._events.publish(session, event, aggregate_id=product.product_id)
            else:
                product = model.added_before(draft, store.rivals(session, draft))
        return wire.product_message(product)

    def BatchGetPrices(
        self, request: messages.BatchGetPricesRequest, context: grpc.ServicerContext
    ) -> messages.BatchGetPricesResponse:
        with self._database.reading() as session:
            found = store.find_all(session, request.product_ids)
        products = model.priced(request.product_ids, found, currency_code=request.currency_code)
        return messages.BatchGetPricesResponse(prices=map(wire.product_price, products))
