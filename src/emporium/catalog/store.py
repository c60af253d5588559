"""The table of products and every statement on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    MetaData,
    Table,
    Text,
    any_,
    bindparam,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from emporium.catalog.model import Price, Product

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from emporium.catalog.model import Draft

products = Table(
    "products",
    MetaData(schema="catalog"),
    Column("product_id", Text, primary_key=True),
    Column("title", Text),
    Column("description", Text),
    Column("currency_code", Text),
    Column("price_minor", BigInteger),
    Column("request_id", Text),
    Column("created_at", DateTime(timezone=True)),
)


def add(session: Connection, product: Product) -> bool:
    """Add the product; False, and no change, when its id or its request_id is there already.

    Of two at the same moment the second waits for the first.
    """
    row = {
        "product_id": product.product_id,
        "title": product.title,
        "description": product.description,
        "currency_code": product.price.currency_code,
        "price_minor": product.price.minor,
        "request_id": product.request_id or None,
        "created_at": product.created_at,
    }
    made = insert(products).values(row).on_conflict_do_nothing().returning(products.c.product_id)
    return session.execute(made).one_or_none() is not None


def rivals(session: Connection, draft: Draft) -> list[Product]:
    """The products that keep ``draft`` from being added, at most two."""
    in_the_way = or_(
        products.c.product_id == draft.product_id, products.c.request_id == draft.request_id
    )
    return [_product(row) for row in session.execute(select(products).where(in_the_way))]


def find(session: Connection, product_id: str) -> Product | None:
    """The product with this id."""
    row = session.execute(select(products).where(products.c.product_id == product_id)).one_or_none()
    return None if row is None else _product(row)


def find_all(session: Connection, product_ids: Sequence[str]) -> list[Product]:
    """The products with these ids, as far as there are any, in one statement and in any order."""
    return [_product(row) for row in session.execute(_FIND_ALL, {"product_ids": list(product_ids)})]


def page(session: Connection, *, after: str, limit: int) -> list[Product]:
    """Up to ``limit`` products whose ids come after ``after``, in their order."""
    wanted = select(products).order_by(products.c.product_id).limit(limit)
    if after:
        wanted = wanted.where(products.c.product_id > after)
    return [_product(row) for row in session.execute(wanted)]


# One text however many ids there are, so that the server plans it once.
_FIND_ALL = select(products).where(
    products.c.product_id == any_(bindparam("product_ids", type_=ARRAY(Text)))
)


def _product(row: Row[Any]) -> Product:
    return Product(
        product_id=row.product_id,
        title=row.title,
        description=row.description,
        price=Price(row.price_minor, row.currency_code),
        request_id=row.request_id or "",
        created_at=row.created_at,
    )
