"""What stock and reservations are and how they may change: rules alone, no input or output, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from portico import errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

MOST_PIECES = 1_000_000_000
"""On hand of one product, by adjustment: leaves room below the 2^31 of the contract for what comes back."""


class Status(StrEnum):
    """Where a reservation stands."""

    HELD = "HELD"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Line:
    """Some pieces of one product."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Pieces kept for one buyer. Without lines it was given up before it was made."""

    reservation_id: str
    status: Status
    lines: tuple[Line, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How many pieces of a product there are."""

    product_id: str
    on_hand: int
    reserved: int
    updated_at: datetime

    @property
    def available(self) -> int:
        """Pieces that can still be reserved."""
        return self.on_hand - self.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A change of what is on hand. ``request_id`` may be empty: then a repeat adjusts again."""

    product_id: str
    delta: int
    note: str
    request_id: str


class Movement(StrEnum):
    """Why a level changed; the log of movements adds up to the level."""

    ADJUSTED = "ADJUSTED"
    RESERVED = "RESERVED"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    RETURNED = "RETURNED"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a reservation moves on, and what each of its pieces adds to the two numbers of its level."""

    status: Status
    movement: Movement
    on_hand: int
    reserved: int


COMMIT = Ending(Status.COMMITTED, Movement.COMMITTED, on_hand=-1, reserved=-1)
RELEASE = Ending(Status.RELEASED, Movement.RELEASED, on_hand=0, reserved=-1)
EXPIRE = Ending(Status.EXPIRED, Movement.EXPIRED, on_hand=0, reserved=-1)
RETURN = Ending(Status.RELEASED, Movement.RETURNED, on_hand=1, reserved=0)


def releasing(reservation: Reservation) -> Ending | None:
    """What giving up the reservation does; None when nothing is kept for it."""
    return {Status.HELD: RELEASE, Status.COMMITTED: RETURN}.get(reservation.status)


def fell_low(*, before: int, after: int, threshold: int) -> bool:
    """Whether the free pieces came down to the threshold with this change, not earlier."""
    return after <= threshold < before


def check_same_lines(found: Reservation, lines: Sequence[Line]) -> None:
    """Refuse a reservation_id that comes again for something else, or that was given up beforehand.

    Raises RESERVATION_EXISTS or RESERVATION_ENDED.
    """
    if not found.lines:
        raise ended(found)
    if set(found.lines) != set(lines):
        raise errors.already_exists(
            "RESERVATION_EXISTS",
            "this reservation id is in use with other lines",
            reservation_id=found.reservation_id,
        )


def check_same_adjustment(found: Adjustment, wanted: Adjustment) -> None:
    """Refuse a request_id that comes again for something else. Raises REQUEST_ID_REUSED."""
    if found != wanted:
        raise errors.already_exists(
            "REQUEST_ID_REUSED",
            "this request_id (REST: Idempotency-Key) was used for something else; take a new one",
            request_id=wanted.request_id,
        )


def short(line: Line, *, available: int) -> errors.StatusError:
    """A line wants more pieces than are free."""
    return errors.failed_precondition(
        "INSUFFICIENT_STOCK",
        f"only {available} of the {line.quantity} pieces of {line.product_id} are left",
        product_id=line.product_id,
        quantity=line.quantity,
        available=available,
    )


def ended(reservation: Reservation) -> errors.StatusError:
    """The reservation was given up: there is no way back."""
    return errors.failed_precondition(
        "RESERVATION_ENDED",
        "this reservation was given up; reserve anew under another id",
        reservation_id=reservation.reservation_id,
        status=reservation.status,
    )


def unknown_reservation(reservation_id: str) -> errors.StatusError:
    """Nobody has reserved under this id."""
    return errors.not_found(
        "RESERVATION_NOT_FOUND", "there is no such reservation", reservation_id=reservation_id
    )


def not_stocked(product_id: str) -> errors.StatusError:
    """Inventory has never been told of the product."""
    return errors.not_found(
        "PRODUCT_NOT_STOCKED", "no stock was ever booked for this product", product_id=product_id
    )


def refused(adjustment: Adjustment, level: Level) -> errors.StatusError:
    """The adjustment would take away what is reserved or not there, or add more than can be counted."""
    if adjustment.delta > 0:
        return errors.failed_precondition(
            "STOCK_TOO_HIGH",
            f"no more than {MOST_PIECES} pieces of a product can be on hand",
            product_id=adjustment.product_id,
            delta=adjustment.delta,
            on_hand=level.on_hand,
        )
    return errors.failed_precondition(
        "STOCK_TOO_LOW",
        f"only {level.available} pieces of {adjustment.product_id} can be taken away",
        product_id=adjustment.product_id,
        delta=adjustment.delta,
        available=level.available,
    )
