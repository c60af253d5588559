"""The manifest of inventory: what it provides, and how it is put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commerce.inventory.v1.inventory_service_pb2_grpc import add_InventoryServiceServicer_to_server

from emporium.inventory.demonstration import Demonstration
from emporium.inventory.reactions import HoldReactions, OrderReactions
from emporium.inventory.service import InventoryService
from emporium.inventory.settings import InventorySettings
from emporium.inventory.stockroom import Stockroom
from portico.module import Module

if TYPE_CHECKING:
    import punq


def _wire(container: punq.Container) -> None:
    container.register(Stockroom)


module = Module(
    name="inventory",
    provides={add_InventoryServiceServicer_to_server: InventoryService},
    reactions=(OrderReactions, HoldReactions),
    settings=InventorySettings,
    owns_data=True,
    wire=_wire,
    demonstration=Demonstration,
)
