"""The tables of orders and every statement on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    column,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgres_insert

from emporium.orders import model
from emporium.orders.model import BeingPlaced, CancelReason, Line, Order, Status
from portico.data import translating
from portico.workflow import under_way

if TYPE_CHECKING:
    from sqlalchemy import Connection, Insert, Row, Select

    from emporium.orders.model import Position, Request

_metadata = MetaData(schema="orders")

orders = Table(
    "orders",
    _metadata,
    Column("order_id", Text, primary_key=True),
    Column("customer_id", Text),
    Column("status", Text),
    Column("cancel_reason", Text),
    Column("currency", Text),
    Column("total_minor", BigInteger),
    Column("payment_method", Text),
    Column("payment_id", Text),
    Column("created_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),
)

order_items = Table(
    "order_items",
    _metadata,
    Column("order_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("product_id", Text),
    Column("title", Text),
    Column("quantity", Integer),
    Column("unit_price_minor", BigInteger),
    Column("line_total_minor", BigInteger),
)

requests = Table(
    "requests",
    _metadata,
    Column("customer_id", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("fingerprint", Text),
    Column("order_id", Text),
)

# Where the modules live apart, the row of an order is there before the order is placed, and stays when it
# never was. Whoever looks must not tell that from an order that was never begun.
_BEING_PLACED = under_way(orders.c.order_id, schema="orders", workflow=model.PLACE_ORDER)
_IS_PLACED = and_(
    orders.c.cancel_reason.is_distinct_from(CancelReason.NOT_PLACED.value), ~_BEING_PLACED
)


def add(session: Connection, order: Order, request: Request) -> None:
    """Write a new order down, with its lines and the request that it answers, in one statement.

    Raises REQUEST_ID_REUSED when an order of the customer already answers this request_id; of two at
    the same moment the second waits for the first.
    """
    with translating({"requests_pkey": lambda: model.request_id_reused(request)}):
        session.execute(_ADD_REQUESTED if request.request_id else _ADD, _parameters(order, request))


def forget_request(session: Connection, *, order_id: str) -> None:
    """Forget which requests the order answers, so that they may be sent again for another."""
    session.execute(delete(requests).where(requests.c.order_id == order_id))


def find(session: Connection, order_id: str) -> Order | None:
    """The order, lines included, in one statement; only once it is placed."""
    return _one(session, _whole().where(orders.c.order_id == order_id, _IS_PLACED))


def lock(session: Connection, order_id: str) -> Order | None:
    """The order, which nobody else can change until this transaction ends. Raises ``BeingPlaced``."""
    wanted = _whole(_BEING_PLACED.label("being_placed")).where(orders.c.order_id == order_id)
    row = session.execute(wanted.with_for_update(of=orders)).one_or_none()
    if row is not None and row.being_placed:
        raise BeingPlaced(order_id)
    return None if row is None else _order(row)


def lock_unplaced(session: Connection, order_id: str) -> Order | None:
    """As ``lock``, for the workflow that places the order: it is its own until it is placed."""
    wanted = _whole().where(orders.c.order_id == order_id)
    return _one(session, wanted.with_for_update(of=orders))


def answered(session: Connection, request: Request) -> tuple[Order, str] | None:
    """The placed order that already answers a request of this name, and the fingerprint it had then."""
    wanted = (
        _whole(requests.c.fingerprint)
        .join(requests, requests.c.order_id == orders.c.order_id)
        .where(
            _IS_PLACED,
            requests.c.customer_id == request.customer_id,
            requests.c.operation == request.operation.value,
            requests.c.request_id == request.request_id,
        )
    )
    row = session.execute(wanted).one_or_none()
    return None if row is None else (_order(row), row.fingerprint)


def claim(session: Connection, request: Request, *, order_id: str) -> None:
    """Note that ``request`` was about this order. Raises REQUEST_ID_REUSED when it was about another."""
    if not request.request_id:
        return
    row = {
        "customer_id": request.customer_id,
        "operation": request.operation.value,
        "request_id": request.request_id,
        "fingerprint": request.fingerprint,
        "order_id": order_id,
    }
    noted = postgres_insert(requests).values(row).on_conflict_do_nothing()
    if session.execute(noted.returning(requests.c.order_id)).one_or_none() is None:
        earlier = answered(session, request)
        if earlier is None or earlier[1] != request.fingerprint:
            raise model.request_id_reused(request)


def save(session: Connection, order: Order) -> None:
    """Write down where the order stands now; it was locked before."""
    session.execute(
        update(orders)
        .where(orders.c.order_id == order.order_id)
        .values(
            status=order.status.value,
            cancel_reason=_value(order.cancel_reason),
            updated_at=order.updated_at,
        )
    )


def page(
    session: Connection, *, customer_id: str, after: Position | None, limit: int
) -> list[Order]:
    """Up to ``limit`` placed orders behind ``after``, newest first, of one customer or, if empty, of everybody."""
    place = tuple_(orders.c.created_at, orders.c.order_id)
    newest_first = orders.c.created_at.desc(), orders.c.order_id.desc()
    wanted = _whole().where(_IS_PLACED).order_by(*newest_first).limit(limit)
    if customer_id:
        wanted = wanted.where(orders.c.customer_id == customer_id)
    if after is not None:
        wanted = wanted.where(place < tuple_(after.created_at, after.order_id))
    return [_order(row) for row in session.execute(wanted)]


def _whole(*more: Any) -> Select[Any]:
    """Whole orders, one row each: the lines come as an array of arrays."""
    line = func.jsonb_build_array(
        order_items.c.product_id,
        order_items.c.title,
        order_items.c.quantity,
        order_items.c.unit_price_minor,
    )
    lines = (
        select(func.jsonb_agg(line).aggregate_order_by(order_items.c.position))
        .where(order_items.c.order_id == orders.c.order_id)
        .scalar_subquery()
    )
    return select(orders, lines.label("lines"), *more)


def _adding(*, with_request: bool) -> Insert:
    """The order, its lines out of parallel arrays, and perhaps the request: one statement for any basket."""
    line = (
        func.unnest(
            bindparam("product_ids", type_=ARRAY(Text)),
            bindparam("titles", type_=ARRAY(Text)),
            bindparam("quantities", type_=ARRAY(Integer)),
            bindparam("unit_prices", type_=ARRAY(BigInteger)),
        )
        .table_valued(
            column("product_id", Text),
            column("title", Text),
            column("quantity", Integer),
            column("unit_price", BigInteger),
            with_ordinality="position",
        )
        .render_derived()
    )
    lines = select(
        bindparam("new_order_id", type_=Text),
        line.c.position,
        line.c.product_id,
        line.c.title,
        line.c.quantity,
        line.c.unit_price,
        line.c.quantity * line.c.unit_price,
    )
    statement = insert(order_items).from_select(list(order_items.c), lines)
    statement = statement.add_cte(_insert_of(orders).cte("placed"))
    return statement.add_cte(_insert_of(requests).cte("asked")) if with_request else statement


def _insert_of(table: Table) -> Insert:
    return insert(table).values({each.name: bindparam(f"new_{each.name}") for each in table.c})


def _parameters(order: Order, request: Request) -> dict[str, object]:
    return {
        "new_order_id": order.order_id,
        "new_customer_id": order.customer_id,
        "new_status": order.status.value,
        "new_cancel_reason": _value(order.cancel_reason),
        "new_currency": order.currency,
        "new_total_minor": order.total,
        "new_payment_method": order.payment_method,
        "new_payment_id": order.payment_id,
        "new_created_at": order.created_at,
        "new_updated_at": order.updated_at,
        "new_operation": request.operation.value,
        "new_request_id": request.request_id,
        "new_fingerprint": request.fingerprint,
        "product_ids": [line.product_id for line in order.lines],
        "titles": [line.title for line in order.lines],
        "quantities": [line.quantity for line in order.lines],
        "unit_prices": [line.unit_price for line in order.lines],
    }


def _value(reason: CancelReason | None) -> str | None:
    return None if reason is None else reason.value


_ADD = _adding(with_request=False)
_ADD_REQUESTED = _adding(with_request=True)


def _one(session: Connection, wanted: Select[Any]) -> Order | None:
    row = session.execute(wanted).one_or_none()
    return None if row is None else _order(row)


def _order(row: Row[Any]) -> Order:
    return Order(
        order_id=row.order_id,
        customer_id=row.customer_id,
        status=Status(row.status),
        lines=tuple(Line(*line) for line in row.lines),
        currency=row.currency,
        payment_method=row.payment_method,
        payment_id=row.payment_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        cancel_reason=None if row.cancel_reason is None else CancelReason(row.cancel_reason),
    )
