"""The module orders: what it provides and requires, and how it is put together."""

from __future__ import annotations

import punq
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from commerce.orders.v1.orders_service_pb2_grpc import add_OrdersServiceServicer_to_server
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub

from emporium.orders.reactions import FollowUps, PaymentReactions
from emporium.orders.service import OrdersService
from emporium.orders.settings import OrdersSettings
from emporium.orders.workflows import CancelOrder, PlaceOrder, RefundOrder
from portico.module import Module


def _wire(container: punq.Container) -> None:
    for workflow in (PlaceOrder, CancelOrder, RefundOrder):
        container.register(workflow)


module = Module(
    name="orders",
    provides={add_OrdersServiceServicer_to_server: OrdersService},
    requires=(CatalogServiceStub, InventoryServiceStub, PaymentsServiceStub),
    reactions=(PaymentReactions, FollowUps),
    settings=OrdersSettings,
    owns_data=True,
    wire=_wire,
)
