"""Between the contract's messages and the model."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from commerce.orders.v1 import events_pb2, order_pb2, orders_service_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from emporium.orders.model import Item, Line, Position, place_request, total_of
from portico import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from commerce.catalog.v1 import catalog_service_pb2

    from emporium.orders.model import Order, Request

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_MINOR_PER_UNIT = 100
_NANOS_PER_MINOR = 10_000_000


def items_of(
    request: orders_service_pb2.QuoteOrderRequest | orders_service_pb2.PlaceOrderRequest,
) -> tuple[Item, ...]:
    """The basket, in the order in which it was asked for."""
    return tuple(Item(item.product_id, item.quantity) for item in request.items)


def placing(request: orders_service_pb2.PlaceOrderRequest) -> Request:
    """The request as something that may come again."""
    return place_request(
        customer_id=request.customer_id,
        items=items_of(request),
        payment_method=request.payment_method,
        request_id=request.request_id,
    )


def lines_of(
    items: Sequence[Item], prices: Iterable[catalog_service_pb2.ProductPrice]
) -> tuple[Line, ...]:
    """The basket with its prices, which come in the same order."""
    return tuple(
        Line(item.product_id, price.title, item.quantity, minor_of(price.price))
        for item, price in zip(items, prices, strict=True)
    )


def money(minor: int, currency: str) -> Money:
    """``minor`` hundredths of a currency, exactly."""
    units, rest = divmod(minor, _MINOR_PER_UNIT)
    return Money(currency_code=currency, units=units, nanos=rest * _NANOS_PER_MINOR)


def minor_of(amount: Money) -> int:
    """An amount in hundredths; ValueError when it has more than two decimals."""
    nanos, units = int(amount.nanos), int(amount.units)
    minor, finer = divmod(nanos, _NANOS_PER_MINOR)
    if finer:
        raise ValueError(f"{units}.{nanos:09} has more than two decimals")
    return units * _MINOR_PER_UNIT + minor


def displayed(minor: int) -> float:
    """An amount for display: the number nearest to it, which prints with at most two decimals."""
    return minor / _MINOR_PER_UNIT


def timestamp(at: datetime) -> Timestamp:
    """A whole second."""
    return Timestamp(seconds=int(at.timestamp()))


def order_message(order: Order) -> order_pb2.Order:
    """The whole order."""
    return order_pb2.Order(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order_pb2.Order.Status.Value(order.status),
        items=item_messages(order.lines, order.currency),
        payment_method=order.payment_method,
        payment_id=order.payment_id,
        total_amount=displayed(order.total),
        total=money(order.total, order.currency),
        created_at=timestamp(order.created_at),
        updated_at=timestamp(order.updated_at),
        cancel_reason=_cancel_reason(order),
    )


def item_messages(lines: Iterable[Line], currency: str) -> list[order_pb2.OrderItem]:
    """The lines of an order."""
    return [
        order_pb2.OrderItem(
            product_id=line.product_id,
            title=line.title,
            quantity=line.quantity,
            unit_price=money(line.unit_price, currency),
            line_total=money(line.total, currency),
        )
        for line in lines
    ]


def quoted(lines: tuple[Line, ...], currency: str) -> orders_service_pb2.QuoteOrderResponse:
    """What a basket would cost."""
    total = total_of(lines)
    return orders_service_pb2.QuoteOrderResponse(
        items=item_messages(lines, currency),
        total_amount=displayed(total),
        total=money(total, currency),
    )


def placed(order: Order) -> orders_service_pb2.PlaceOrderResponse:
    """The answer to whoever placed it: as it was then, however far the order has moved since."""
    return orders_service_pb2.PlaceOrderResponse(
        order_id=order.order_id,
        status=order_pb2.Order.CREATED,
        total_amount=displayed(order.total),
        created_at=timestamp(order.created_at),
        total=money(order.total, order.currency),
        payment_id=order.payment_id,
    )


# Events


def order_placed(order: Order) -> events_pb2.OrderPlaced:
    """The fact that an order was placed."""
    return events_pb2.OrderPlaced(
        order_id=order.order_id,
        customer_id=order.customer_id,
        items=item_messages(order.lines, order.currency),
        total=money(order.total, order.currency),
        payment_id=order.payment_id,
        placed_at=timestamp(order.created_at),
    )


def order_paid(order: Order) -> events_pb2.OrderPaid:
    """The fact that it was paid."""
    return events_pb2.OrderPaid(
        order_id=order.order_id,
        customer_id=order.customer_id,
        items=item_messages(order.lines, order.currency),
        total=money(order.total, order.currency),
        payment_id=order.payment_id,
        paid_at=timestamp(order.updated_at),
    )


def order_cancelled(order: Order, *, was_paid: bool) -> events_pb2.OrderCancelled:
    """The fact that it was cancelled."""
    return events_pb2.OrderCancelled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        items=item_messages(order.lines, order.currency),
        total=money(order.total, order.currency),
        payment_id=order.payment_id,
        cancel_reason=_cancel_reason(order),
        was_paid=was_paid,
        cancelled_at=timestamp(order.updated_at),
    )


def refund_due(order: Order, amount: Money, *, at: datetime) -> events_pb2.OrderRefundDue:
    """The fact that ``amount`` came for an order that had ended."""
    return events_pb2.OrderRefundDue(
        order_id=order.order_id,
        customer_id=order.customer_id,
        payment_id=order.payment_id,
        amount=amount,
        noticed_at=timestamp(at),
    )


def _cancel_reason(order: Order) -> order_pb2.Order.CancelReason.ValueType:
    if order.cancel_reason is None:
        return order_pb2.Order.CANCEL_REASON_UNSPECIFIED
    return order_pb2.Order.CancelReason.Value(order.cancel_reason)


# Page tokens


def page_token(position: Position, *, customer_id: str) -> str:
    """An opaque name for a place in the list of one customer, or, if empty, of everybody."""
    content = [customer_id, int(position.created_at.timestamp()), position.order_id]
    text = json.dumps(content, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_of(token: str, *, customer_id: str) -> Position | None:
    """The place that ``token`` names; None for the empty one: the beginning.

    Raises PAGE_TOKEN_INVALID for a token that :func:`page_token` never gave for this customer.
    """
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        owner, seconds, order_id = json.loads(base64.urlsafe_b64decode(padded))
        position = Position(datetime.fromtimestamp(seconds, UTC), order_id)
        ours = page_token(position, customer_id=owner) == token and _ID.fullmatch(order_id)
        if ours and owner == customer_id:
            return position
    except (ValueError, TypeError, AttributeError, OverflowError, OSError):
        pass  # not ours: told below, like a token of another list
    raise errors.invalid_argument(
        "PAGE_TOKEN_INVALID",
        "this page token is not from this list; start again without one",
        violations=[errors.Violation("page_token", "is not one that this list gave out")],
    )
