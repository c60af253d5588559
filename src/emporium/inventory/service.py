"""The inventory contract, one method per rpc."""

from __future__ import annotations

import grpc
from commerce.inventory.v1 import inventory_service_pb2 as messages
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceServicer
from commerce.inventory.v1.stock_pb2 import Stock

from emporium.inventory import model, store, wire
from emporium.inventory.stockroom import Stockroom
from portico.data import Database


class InventoryService(InventoryServiceServicer):
    """How many pieces there are, and for whom they are kept."""

    def __init__(self, *, database: Database, stockroom: Stockroom) -> None:
        self._database = database
        self._stockroom = stockroom

    def GetStock(self, request: messages.GetStockRequest, context: grpc.ServicerContext) -> Stock:
        with self._database.reading() as session:
            level = store.level(session, request.product_id)
        if level is None:
            raise model.not_stocked(request.product_id)
        return wire.stock(level)

    def AdjustStock(
        self, request: messages.AdjustStockRequest, context: grpc.ServicerContext
    ) -> Stock:
        with self._database.unit_of_work() as session:
            level = self._stockroom.adjust(session, wire.adjustment(request))
        return wire.stock(level)

    def Reserve(
        self, request: messages.ReserveRequest, context: grpc.ServicerContext
    ) -> messages.ReserveResponse:
        with self._database.unit_of_work() as session:
            reservation = self._stockroom.reserve(
                session,
                request.reservation_id,
                wire.lines(request.lines),
                hold_seconds=request.hold_seconds,
            )
        return messages.ReserveResponse(reservation=wire.reservation(reservation))

    def Commit(
        self, request: messages.CommitRequest, context: grpc.ServicerContext
    ) -> messages.CommitResponse:
        with self._database.unit_of_work() as session:
            reservation = self._stockroom.commit(session, request.reservation_id)
        return messages.CommitResponse(reservation=wire.reservation(reservation))

    def Release(
        self, request: messages.ReleaseRequest, context: grpc.ServicerContext
    ) -> messages.ReleaseResponse:
        with self._database.unit_of_work() as session:
            self._stockroom.release(session, request.reservation_id)
        return messages.ReleaseResponse()
