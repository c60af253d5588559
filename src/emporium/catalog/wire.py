"""Between the contract's messages and the model."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING

from commerce.catalog.v1 import catalog_service_pb2, events_pb2, product_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from emporium.catalog.model import Draft, Price
from portico import errors

if TYPE_CHECKING:
    from datetime import datetime

    from emporium.catalog.model import Product

_MINOR_PER_UNIT = 100
_NANOS_PER_MINOR = 10_000_000

_LIST = "catalog.products"
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


def draft(request: catalog_service_pb2.CreateProductRequest) -> Draft:
    """The product that is to be added."""
    return Draft(
        product_id=request.product_id,
        title=request.title,
        description=request.description,
        price=_price(request.price),
        request_id=request.request_id,
    )


def product_message(product: Product) -> product_pb2.Product:
    """A product as the contract tells it."""
    return product_pb2.Product(
        product_id=product.product_id,
        title=product.title,
        description=product.description,
        price=_money(product.price),
        created_at=_timestamp(product.created_at),
    )


def product_price(product: Product) -> catalog_service_pb2.ProductPrice:
    """What orders needs of a product."""
    return catalog_service_pb2.ProductPrice(
        product_id=product.product_id, title=product.title, price=_money(product.price)
    )


def product_created(product: Product) -> events_pb2.ProductCreated:
    """The fact that a product was added."""
    return events_pb2.ProductCreated(
        product_id=product.product_id,
        title=product.title,
        price=_money(product.price),
        created_at=_timestamp(product.created_at),
    )


def page_token(product_id: str) -> str:
    """An opaque name for the place behind this product in the list."""
    text = json.dumps([_LIST, product_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(token: str) -> str:
    """The product behind which ``token`` goes on; empty for the empty one: the beginning.

    Raises PAGE_TOKEN_INVALID for a token that ``page_token`` never gave.
    """
    if not token:
        return ""
    try:
        padded = token + "=" * (-len(token) % 4)
        _, product_id = json.loads(base64.urlsafe_b64decode(padded))
        if page_token(product_id) == token and _ID.fullmatch(product_id):
            return str(product_id)
    except (ValueError, TypeError, RecursionError):
        pass  # not ours: told below, like a token of another list
    raise errors.invalid_argument(
        "PAGE_TOKEN_INVALID",
        "this page token is not from this list; start again without one",
        violations=[errors.Violation("page_token", "is not one that this list gave out")],
    )


def _price(money: Money) -> Price:
    return Price(
        money.units * _MINOR_PER_UNIT + money.nanos // _NANOS_PER_MINOR, money.currency_code
    )


def _money(price: Price) -> Money:
    units, rest = divmod(price.minor, _MINOR_PER_UNIT)
    return Money(currency_code=price.currency_code, units=units, nanos=rest * _NANOS_PER_MINOR)


def _timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
