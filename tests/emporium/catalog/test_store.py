"""The statements of catalog: how many they are, and what happens to two at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from commerce.catalog.v1.catalog_service_pb2 import (
    BatchGetPricesRequest,
    CreateProductRequest,
    GetProductRequest,
    ListProductsRequest,
)
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from google.type.money_pb2 import Money
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from emporium.catalog.demonstration import PRODUCTS, Demonstration
from portico.data import constraint

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.data import Database
    from portico.testing.harness import Harness

PRICE = Money(currency_code="USD", units=1)


@pytest.fixture
def stub(harness: Harness) -> CatalogServiceStub:
    return harness.stub(
        CatalogServiceStub, "local", user="usr_admin", roles=["admin"], caller="orders"
    )


def statements(harness: Harness, work: Callable[[], Any]) -> int:
    """How many statements ``work`` sends, apart from BEGIN and COMMIT."""
    sent: list[str] = []

    def note(*arguments: Any) -> None:
        sent.append(arguments[2])

    storage: Any = harness.program.storage
    engine = storage._engine._sqlalchemy
    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(sent)


def test_every_read_takes_one_statement(harness: Harness, stub: CatalogServiceStub) -> None:
    ids = [
        stub.CreateProduct(CreateProductRequest(title="Lamp", price=PRICE)).product_id
        for _ in range(3)
    ]
    prices = BatchGetPricesRequest(product_ids=ids, currency_code="USD")
    assert statements(harness, lambda: stub.BatchGetPrices(prices)) == 1
    assert statements(harness, lambda: stub.GetProduct(GetProductRequest(product_id=ids[0]))) == 1
    assert statements(harness, lambda: stub.ListProducts(ListProductsRequest(page_size=2))) == 1


def test_adding_takes_one_statement_and_its_event_another(
    harness: Harness, stub: CatalogServiceStub
) -> None:
    request = CreateProductRequest(title="Lamp", price=PRICE, request_id="two-statements")
    assert statements(harness, lambda: stub.CreateProduct(request)) == 2
    assert statements(harness, lambda: stub.CreateProduct(request)) == 2


def test_a_request_sent_8_times_at_once_adds_one_product(stub: CatalogServiceStub) -> None:
    together = threading.Barrier(8)
    request = CreateProductRequest(title="Lamp", price=PRICE, request_id="eight-at-once")

    def create(_: int) -> str:
        together.wait()
        return stub.CreateProduct(request).product_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(8)))) == 1


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE catalog.products SET price_minor = 0", "products_price_positive"),
        ("UPDATE catalog.products SET currency_code = 'usd'", "products_currency_iso"),
        ("UPDATE catalog.products SET title = ''", "products_title_given"),
    ],
)
def test_the_table_refuses_what_breaks_a_law(
    stub: CatalogServiceStub, database: Database, change: str, broken: str
) -> None:
    stub.CreateProduct(CreateProductRequest(title="Lamp", price=PRICE))
    with pytest.raises(IntegrityError) as caught, database.unit_of_work() as session:
        session.exec_driver_sql(change)
    assert constraint(caught.value) == broken


def test_the_demonstration_is_loaded_once_and_changes_nothing_that_is_there(
    harness: Harness, stub: CatalogServiceStub, database: Database
) -> None:
    from emporium.catalog.module import module
    from portico.clock import SystemClock
    from portico.events import Events

    storage: Any = harness.program.storage
    demonstration = Demonstration(
        database=database, events=storage.provided(module)[Events], clock=SystemClock()
    )
    demonstration.load()
    with database.unit_of_work() as session:
        session.exec_driver_sql(
            "UPDATE catalog.products SET title = 'Renamed' WHERE product_id = 'prod_7721'"
        )
    demonstration.load()
    prices = stub.BatchGetPrices(
        BatchGetPricesRequest(
            product_ids=[product_id for product_id, *_ in PRODUCTS], currency_code="USD"
        )
    ).prices
    assert len(prices) == 12
    assert (prices[0].product_id, prices[0].title) == ("prod_7721", "Renamed")
    assert (prices[0].price.units, prices[0].price.nanos) == (74, 990_000_000)
