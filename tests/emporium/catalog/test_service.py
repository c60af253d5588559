"""The contract of catalog, over the servicer alone, the local channel and a socket."""

from __future__ import annotations

from datetime import UTC
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from commerce.catalog.v1.catalog_service_pb2 import (
    BatchGetPricesRequest,
    CreateProductRequest,
    GetProductRequest,
    ListProductsRequest,
)
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from commerce.catalog.v1.events_pb2 import ProductCreated
from commerce.catalog.v1.product_pb2 import Product
from google.type.money_pb2 import Money
from sqlalchemy import text

from portico.errors import StatusError

if TYPE_CHECKING:
    from portico.clock import ManualClock
    from portico.data import Database
    from portico.testing.harness import Harness

_numbers = count(1)


def new_id() -> str:
    return f"prod_t{next(_numbers):05}"


def draft(product_id: str = "", **changed: Any) -> CreateProductRequest:
    content = {"title": "Lamp", "price": Money(currency_code="USD", units=74, nanos=990_000_000)}
    return CreateProductRequest(product_id=product_id, **(content | changed))


def add(catalog: CatalogServiceStub, **changed: Any) -> Product:
    return catalog.CreateProduct(draft(new_id(), **changed))


def created(database: Database, product_id: str) -> list[ProductCreated]:
    statement = text("SELECT payload FROM catalog.outbox WHERE aggregateid = :id")
    with database.reading() as session:
        found = session.execute(statement, {"id": product_id}).scalars()
        return [ProductCreated.FromString(payload) for payload in found]


class TestCreating:
    def test_adds_a_product_that_can_be_read(
        self, catalog: CatalogServiceStub, clock: ManualClock
    ) -> None:
        product = add(catalog, description="Warm light.")
        assert catalog.GetProduct(GetProductRequest(product_id=product.product_id)) == product
        assert (product.title, product.description) == ("Lamp", "Warm light.")
        assert (product.price.units, product.price.nanos) == (74, 990_000_000)
        assert product.created_at.ToDatetime(tzinfo=UTC) == clock.now()

    def test_makes_an_id_where_none_is_given(self, catalog: CatalogServiceStub) -> None:
        first, second = (catalog.CreateProduct(draft()).product_id for _ in range(2))
        assert first.startswith("prod_")
        assert first < second

    def test_is_told_to_others(self, catalog: CatalogServiceStub, database: Database) -> None:
        product = add(catalog)
        [told] = created(database, product.product_id)
        assert (told.title, told.price) == (product.title, product.price)

    @pytest.mark.parametrize("given", [True, False])
    def test_adds_one_product_for_one_request_id(
        self, catalog: CatalogServiceStub, database: Database, *, given: bool
    ) -> None:
        request = draft(new_id() if given else "", request_id=new_id())
        first = catalog.CreateProduct(request)
        assert catalog.CreateProduct(request) == first
        assert len(created(database, first.product_id)) == 1

    @pytest.mark.parametrize(
        "other",
        [
            {"title": "Lamp!"},
            {"description": "x"},
            {"price": Money(currency_code="USD", units=75)},
            {"price": Money(currency_code="EUR", units=74, nanos=990_000_000)},
        ],
    )
    def test_refuses_a_request_id_that_came_with_other_content(
        self, catalog: CatalogServiceStub, other: dict[str, Any]
    ) -> None:
        product_id, key = new_id(), new_id()
        catalog.CreateProduct(draft(product_id, request_id=key))
        with pytest.raises(StatusError) as caught:
            catalog.CreateProduct(draft(product_id, request_id=key, **other))
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert caught.value.reason == "REQUEST_ID_REUSED"
        assert caught.value.metadata == {"request_id": key}

    @pytest.mark.parametrize("request_id", ["", "another"])
    def test_refuses_an_id_that_is_taken(
        self, catalog: CatalogServiceStub, request_id: str
    ) -> None:
        product = add(catalog)
        with pytest.raises(StatusError) as caught:
            catalog.CreateProduct(draft(product.product_id, request_id=request_id))
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert caught.value.reason == "PRODUCT_EXISTS"
        assert caught.value.metadata == {"product_id": product.product_id}

    @pytest.mark.parametrize(
        ("units", "nanos"), [(0, 10_000_000), (999_999, 990_000_000), (1_000_000, 0)]
    )
    def test_keeps_every_price_exactly(
        self, catalog: CatalogServiceStub, units: int, nanos: int
    ) -> None:
        product = add(catalog, price=Money(currency_code="JPY", units=units, nanos=nanos))
        found = catalog.GetProduct(GetProductRequest(product_id=product.product_id))
        assert found.price == Money(currency_code="JPY", units=units, nanos=nanos)


class TestReading:
    def test_of_an_unknown_product_is_refused(self, catalog: CatalogServiceStub) -> None:
        with pytest.raises(StatusError) as caught:
            catalog.GetProduct(GetProductRequest(product_id="prod_none"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.reason == "PRODUCT_NOT_FOUND"
        assert caught.value.metadata == {"product_id": "prod_none"}


class TestPricing:
    def test_answers_in_the_order_of_the_question(self, catalog: CatalogServiceStub) -> None:
        products = [
            add(catalog, title=f"Lamp {n}", price=Money(currency_code="USD", units=n))
            for n in (1, 2, 3)
        ]
        wanted = [products[1], products[2], products[0]]
        request = BatchGetPricesRequest(
            product_ids=[product.product_id for product in wanted], currency_code="USD"
        )
        prices = catalog.BatchGetPrices(request).prices
        assert [(price.title, price.price.units) for price in prices] == [
            ("Lamp 2", 2),
            ("Lamp 3", 3),
            ("Lamp 1", 1),
        ]

    def test_names_the_first_unknown_product(self, catalog: CatalogServiceStub) -> None:
        known = add(catalog).product_id
        request = BatchGetPricesRequest(
            product_ids=[known, "prod_b", "prod_a"], currency_code="USD"
        )
        with pytest.raises(StatusError) as caught:
            catalog.BatchGetPrices(request)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.reason == "PRODUCT_NOT_FOUND"
        assert caught.value.metadata == {"product_id": "prod_b"}

    def test_converts_nothing(self, catalog: CatalogServiceStub) -> None:
        dollars = add(catalog).product_id
        euros = add(catalog, price=Money(currency_code="EUR", units=1)).product_id
        request = BatchGetPricesRequest(product_ids=[dollars, euros], currency_code="USD")
        with pytest.raises(StatusError) as caught:
            catalog.BatchGetPrices(request)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.reason == "PRODUCT_NOT_PRICED"
        assert caught.value.metadata == {"product_id": euros, "currency_code": "USD"}


def test_a_text_that_no_database_keeps_is_refused_by_name(harness: Harness) -> None:
    stub = harness.stub(CatalogServiceStub, "local", user="usr_admin", roles=["admin"])
    with pytest.raises(StatusError) as caught:
        stub.CreateProduct(draft(title="La\0mp"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in caught.value.violations] == ["title"]


@pytest.mark.parametrize("over", ["local", "socket"])
def test_only_an_administrator_adds_products(harness: Harness, over: Any) -> None:
    anybody = harness.stub(CatalogServiceStub, over, user="usr_1")
    with pytest.raises(StatusError) as caught:
        anybody.CreateProduct(draft())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert anybody.ListProducts(ListProductsRequest(page_size=1)).products


@pytest.mark.parametrize("over", ["local", "socket"])
def test_prices_are_for_other_modules_only(harness: Harness, over: Any) -> None:
    admin = harness.stub(CatalogServiceStub, over, user="usr_admin", roles=["admin"])
    with pytest.raises(StatusError) as caught:
        admin.BatchGetPrices(BatchGetPricesRequest(product_ids=["prod_1"], currency_code="USD"))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
