"""Between the contract's messages and the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commerce.inventory.v1 import events_pb2, reservation_pb2, stock_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from emporium.inventory.model import Adjustment, Line, Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from commerce.inventory.v1 import inventory_service_pb2

    from emporium.inventory.model import Level, Reservation


def lines(messages: Iterable[reservation_pb2.ReservationLine]) -> tuple[Line, ...]:
    """What is to be reserved, in the order in which it was asked for."""
    return tuple(Line(line.product_id, line.quantity) for line in messages)


def adjustment(request: inventory_service_pb2.AdjustStockRequest) -> Adjustment:
    """The change that an administrator asks for."""
    return Adjustment(
        product_id=request.product_id,
        delta=request.delta,
        note=request.note,
        request_id=request.request_id,
    )


def stock(level: Level) -> stock_pb2.Stock:
    """A level as the contract tells it."""
    return stock_pb2.Stock(
        product_id=level.product_id,
        on_hand=level.on_hand,
        reserved=level.reserved,
        available=level.available,
        updated_at=_timestamp(level.updated_at),
    )


def reservation(found: Reservation) -> reservation_pb2.Reservation:
    """A reservation as the contract tells it."""
    return reservation_pb2.Reservation(
        reservation_id=found.reservation_id,
        status=reservation_pb2.Reservation.Status.Value(found.status),
        lines=_lines(found),
        expires_at=_timestamp(found.expires_at),
    )


def adjusted(adjustment: Adjustment, level: Level) -> events_pb2.StockAdjusted:
    """The fact that an adjustment led to this level."""
    return events_pb2.StockAdjusted(
        product_id=adjustment.product_id,
        delta=adjustment.delta,
        on_hand=level.on_hand,
        note=adjustment.note,
        adjusted_at=_timestamp(level.updated_at),
    )


def reserved(held: Reservation, *, at: datetime) -> events_pb2.StockReserved:
    """The fact that pieces are kept."""
    return events_pb2.StockReserved(
        reservation_id=held.reservation_id,
        lines=_lines(held),
        expires_at=_timestamp(held.expires_at),
        reserved_at=_timestamp(at),
    )


def committed(gone: Reservation, *, at: datetime) -> events_pb2.StockCommitted:
    """The fact that pieces have left the stock."""
    return events_pb2.StockCommitted(
        reservation_id=gone.reservation_id, lines=_lines(gone), committed_at=_timestamp(at)
    )


def released(ended: Reservation, *, at: datetime) -> events_pb2.StockReleased:
    """The fact that pieces are free again, on request or because their time ran out."""
    expired = ended.status is Status.EXPIRED
    return events_pb2.StockReleased(
        reservation_id=ended.reservation_id,
        lines=_lines(ended),
        cause=events_pb2.StockReleased.EXPIRED if expired else events_pb2.StockReleased.REQUESTED,
        released_at=_timestamp(at),
    )


def due(reservation_id: str, *, at: datetime) -> events_pb2.HoldDue:
    """The fact that the time of a hold is over."""
    return events_pb2.HoldDue(reservation_id=reservation_id, due_at=_timestamp(at))


def lapsed(lost: Reservation, *, at: datetime) -> events_pb2.ReservationLapsed:
    """The fact that paid pieces are somebody else's."""
    return events_pb2.ReservationLapsed(
        reservation_id=lost.reservation_id, lines=_lines(lost), lapsed_at=_timestamp(at)
    )


def low(product_id: str, *, available: int, threshold: int, at: datetime) -> events_pb2.StockLow:
    """The fact that few pieces are left."""
    return events_pb2.StockLow(
        product_id=product_id, available=available, threshold=threshold, noticed_at=_timestamp(at)
    )


def _lines(reservation: Reservation) -> list[reservation_pb2.ReservationLine]:
    return [
        reservation_pb2.ReservationLine(product_id=line.product_id, quantity=line.quantity)
        for line in reservation.lines
    ]


def _timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
