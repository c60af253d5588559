from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from commerce.inventory.v1.inventory_service_pb2 import (
    AdjustStockRequest,
    CommitRequest,
    GetStockRequest,
    ReleaseRequest,
    ReserveRequest,
)
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from commerce.inventory.v1.reservation_pb2 import Reservation, ReservationLine
from commerce.inventory.v1.stock_pb2 import Stock
from google.protobuf.message import Message
from sqlalchemy import text

from emporium.inventory.module import module
from portico.app import Application
from portico.clock import ManualClock
from portico.data import Database
from portico.events import Events
from portico.testing.harness import TRANSPORTS, Harness
from portico.testing.servers import Databases

MIGRATIONS = Path(__file__).parents[3] / "migrations"


@dataclass
class Inventory:
    """One stub, and a look behind it."""

    stub: InventoryServiceStub
    clock: ManualClock
    database: Database
    events: Events
    settle: Callable[[], None]
    new_id: Callable[[str], str]

    def stocked(self, pieces: int) -> str:
        """A new product with so many pieces."""
        product_id = self.new_id("prod")
        self.adjust(product_id, pieces)
        return product_id

    def adjust(self, product_id: str, delta: int, **more: str) -> Stock:
        request = AdjustStockRequest(product_id=product_id, delta=delta, **more)
        return self.stub.AdjustStock(request)

    def stock(self, product_id: str) -> Stock:
        return self.stub.GetStock(GetStockRequest(product_id=product_id))

    def numbers(self, product_id: str) -> tuple[int, int]:
        stock = self.stock(product_id)
        assert stock.available == stock.on_hand - stock.reserved
        return stock.on_hand, stock.reserved

    def reserve(
        self, reservation_id: str, lines: dict[str, int], hold_seconds: int = 60
    ) -> Reservation:
        request = ReserveRequest(reservation_id=reservation_id, hold_seconds=hold_seconds)
        for product_id, quantity in lines.items():
            request.lines.append(ReservationLine(product_id=product_id, quantity=quantity))
        return self.stub.Reserve(request).reservation

    def held(self, lines: dict[str, int], hold_seconds: int = 60) -> str:
        """A new reservation that is HELD."""
        reservation_id = self.new_id("ord")
        found = self.reserve(reservation_id, lines, hold_seconds)
        assert found.status == Reservation.HELD
        return reservation_id

    def commit(self, reservation_id: str) -> Reservation:
        return self.stub.Commit(CommitRequest(reservation_id=reservation_id)).reservation

    def release(self, reservation_id: str) -> None:
        self.stub.Release(ReleaseRequest(reservation_id=reservation_id))

    def publish(self, event: Message, aggregate_id: str) -> None:
        """Have an event of another module in an outbox; which one does not matter to the relay."""
        with self.database.unit_of_work() as session:
            self.events.publish(session, event, aggregate_id=aggregate_id)

    def published(self, kind: type[Message], aggregate_id: str) -> list[Any]:
        """The events of one kind about one thing, in order."""
        statement = text(
            "SELECT payload FROM inventory.outbox WHERE type = :type AND aggregateid = :id ORDER BY sequence"
        )
        row = {"type": kind.DESCRIPTOR.full_name, "id": aggregate_id}
        with self.database.reading() as session:
            return [kind.FromString(each) for each in session.execute(statement, row).scalars()]

    def query(self, statement: str, **parameters: Any) -> list[Any]:
        with self.database.reading() as session:
            return list(session.execute(text(statement), parameters))


@pytest.fixture(scope="session")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def harness(databases: Databases, clock: ManualClock) -> Iterator[Harness]:
    application = Application(name="inventory", modules=[module], migrations=MIGRATIONS)
    url = databases.migrated(["inventory"], folder=MIGRATIONS)
    settings = application.settings_class()(
        database_url=url.render_as_string(hide_password=False), database_pool_timeout_seconds=30
    )
    with Harness(application, settings, clock=clock) as started:
        yield started


@pytest.fixture(scope="session")
def make_inventory(harness: Harness, clock: ManualClock) -> Callable[..., Inventory]:
    numbers = count(1)

    def make(over: Any = "local") -> Inventory:
        assert harness.program.storage is not None
        provided: dict[type, Any] = dict(harness.program.storage.provided(module))
        return Inventory(
            stub=harness.stub(
                InventoryServiceStub, over, user="usr_admin", roles=["admin"], caller="orders"
            ),
            clock=clock,
            database=provided[Database],
            events=provided[Events],
            settle=harness.settle,
            new_id=lambda prefix: f"{prefix}_t{next(numbers)}",
        )

    return make


@pytest.fixture(params=TRANSPORTS)
def inventory(
    make_inventory: Callable[..., Inventory], request: pytest.FixtureRequest
) -> Inventory:
    """The module, over each transport in turn."""
    return make_inventory(request.param)


@pytest.fixture(scope="session")
def stockroom(make_inventory: Callable[..., Inventory]) -> Inventory:
    """The module over the local channel, for what does not depend on the transport."""
    return make_inventory("local")
