"""What a product is and what it costs: rules alone, no input or output, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class Price:
    """``minor`` hundredths of a currency, for one piece, before tax."""

    minor: int
    currency_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A product to be added. Without ``product_id`` it gets one; without ``request_id`` a repeat is another."""

    product_id: str
    title: str
    description: str
    price: Price
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Something for sale."""

    product_id: str
    title: str
    description: str
    price: Price
    request_id: str
    created_at: datetime


def page_size(wanted: int) -> int:
    """How many products a page has when ``wanted``, 0 or more, were asked for."""
    return min(wanted or DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE)


def added(draft: Draft, *, product_id: str, at: datetime) -> Product:
    """The product that a draft becomes; ``product_id`` is its own or, if it has none, the one made for it."""
    return Product(
        product_id=draft.product_id or product_id,
        title=draft.title,
        description=draft.description,
        price=draft.price,
        request_id=draft.request_id,
        created_at=at,
    )


def added_before(draft: Draft, rivals: Iterable[Product]) -> Product:
    """The product that the same request has added already; ``rivals`` share its id or its request_id.

    Raises REQUEST_ID_REUSED when the request asked for something else, PRODUCT_EXISTS when only the
    id is taken.
    """
    for rival in rivals:
        if draft.request_id and rival.request_id == draft.request_id:
            if not _asks_for(draft, rival):
                raise errors.already_exists(
                    "REQUEST_ID_REUSED",
                    "this request_id (REST: Idempotency-Key) was used for something else; take a new one",
                    request_id=draft.request_id,
                )
            return rival
    raise errors.already_exists(
        "PRODUCT_EXISTS", "there is a product with this id", product_id=draft.product_id
    )


def priced(
    product_ids: Sequence[str], products: Iterable[Product], *, currency_code: str
) -> list[Product]:
    """The products in the order of ``product_ids``, each of which must have a price in this currency.

    Raises PRODUCT_NOT_FOUND or PRODUCT_NOT_PRICED for the first one that has not.
    """
    by_id = {product.product_id: product for product in products}
    return [_priced(by_id, product_id, currency_code) for product_id in product_ids]


def not_found(product_id: str) -> errors.StatusError:
    """There is no such product."""
    return errors.not_found(
        "PRODUCT_NOT_FOUND", f"there is no product {product_id}", product_id=product_id
    )


def _priced(by_id: dict[str, Product], product_id: str, currency_code: str) -> Product:
    product = by_id.get(product_id)
    if product is None:
        raise not_found(product_id)
    if product.price.currency_code != currency_code:
        raise errors.failed_precondition(
            "PRODUCT_NOT_PRICED",
            f"product {product_id} has no price in {currency_code}",
            product_id=product_id,
            currency_code=currency_code,
        )
    return product


def _asks_for(draft: Draft, product: Product) -> bool:
    asked = (draft.product_id or product.product_id, draft.title, draft.description, draft.price)
    return asked == (product.product_id, product.title, product.description, product.price)
