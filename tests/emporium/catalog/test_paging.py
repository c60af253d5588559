"""The list of products: every page token leads on, none skips or repeats, and no other is accepted."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import pytest
from commerce.catalog.v1.catalog_service_pb2 import CreateProductRequest, ListProductsRequest
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from google.type.money_pb2 import Money
from hypothesis import given, settings
from hypothesis import strategies as st

from emporium.catalog import model, wire
from portico.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.testing.harness import Harness

PRICE = Money(currency_code="USD", units=1)
IDS = [
    f"prod_{name}" for name in ("1", "10", "2", "A", "Z", "_", "a", "aa", "b", "z_9", "z_A", "zz")
]


@pytest.fixture(scope="module")
def stub(harness: Harness) -> CatalogServiceStub:
    stub = harness.stub(CatalogServiceStub, "local", user="usr_admin", roles=["admin"])
    for product_id in reversed(IDS):
        request = CreateProductRequest(product_id=product_id, title=product_id, price=PRICE)
        stub.CreateProduct(request)
    return stub


def pages(stub: CatalogServiceStub, size: int) -> Iterator[list[str]]:
    token = ""
    while True:
        page = stub.ListProducts(ListProductsRequest(page_size=size, page_token=token))
        yield [product.product_id for product in page.products]
        token = page.next_page_token
        if not token:
            return


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 12, 13, 0])
def test_pages_of_any_size_show_every_product_once_in_order(
    stub: CatalogServiceStub, size: int
) -> None:
    found = list(pages(stub, size))
    assert [product_id for page in found for product_id in page] == sorted(IDS)
    assert all(page for page in found)


def test_a_product_added_between_two_pages_shifts_nothing(stub: CatalogServiceStub) -> None:
    walk = pages(stub, 4)
    seen = next(walk)
    for product_id in ("prod_0", "prod_zzz"):  # one behind the walk, one before it
        request = CreateProductRequest(product_id=product_id, title="New", price=PRICE)
        stub.CreateProduct(request)
    seen += [product_id for page in walk for product_id in page]
    assert seen == [*sorted(IDS), "prod_zzz"]


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "prod_1",
        "====",
        "\u00e4\u00f6",
        wire.page_token("prod_1")[:-1],
        wire.page_token("prod_1") + "=",
        wire.page_token("prod_1") + "A",
        wire.page_token("no such; id"),
        base64.urlsafe_b64encode(b'["orders","usr_1",1,"ord_1"]').decode(),
        base64.urlsafe_b64encode(b'["catalog.products", "prod_1"]').decode(),
        base64.urlsafe_b64encode(b'["catalog.other","prod_1"]').decode(),
        base64.urlsafe_b64encode(b'["catalog.products",7]').decode(),
        base64.urlsafe_b64encode(b"[" * 300).decode(),
    ],
)
def test_a_token_that_was_never_given_out_is_refused(stub: CatalogServiceStub, token: str) -> None:
    with pytest.raises(StatusError) as caught:
        stub.ListProducts(ListProductsRequest(page_token=token))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.reason == "PAGE_TOKEN_INVALID"
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


@given(token=st.text(max_size=60))
@settings(max_examples=200)
def test_whatever_is_sent_as_a_token_is_a_place_or_refused(token: str) -> None:
    with suppress(StatusError):
        place = wire.place_of(token)
        assert token == (wire.page_token(place) if place else "")


@given(st.from_regex(r"[0-9A-Za-z_-]{1,64}", fullmatch=True))
def test_a_token_names_its_place(product_id: str) -> None:
    token = wire.page_token(product_id)
    assert wire.place_of(token) == product_id
    assert len(token) <= 512


@pytest.mark.parametrize(
    ("wanted", "size"), [(0, 50), (1, 1), (100, 100), (101, 100), (2**31 - 1, 100)]
)
def test_a_page_has_50_products_unless_told_and_never_more_than_100(wanted: int, size: int) -> None:
    assert model.page_size(wanted) == size
