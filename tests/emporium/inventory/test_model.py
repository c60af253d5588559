"""The rules of inventory, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emporium.inventory import model
from emporium.inventory.model import Line, Reservation, Status
from portico.errors import StatusError

LINES = (Line("prod_1", 2), Line("prod_2", 1))
FREE = st.integers(0, 100)


def reservation(status: Status, lines: tuple[Line, ...] = LINES) -> Reservation:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Reservation(reservation_id="ord_1", status=status, lines=lines, expires_at=at)


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (Status.HELD, model.RELEASE),
        (Status.COMMITTED, model.RETURN),
        (Status.RELEASED, None),
        (Status.EXPIRED, None),
    ],
)
def test_giving_up_undoes_exactly_what_was_done(
    status: Status, ending: model.Ending | None
) -> None:
    assert model.releasing(reservation(status)) == ending


@pytest.mark.parametrize("ending", [model.COMMIT, model.RELEASE, model.EXPIRE, model.RETURN])
def test_no_ending_makes_more_pieces_reserved_than_on_hand(ending: model.Ending) -> None:
    assert ending.on_hand >= ending.reserved


@given(threshold=FREE, steps=st.lists(FREE, min_size=2))
def test_low_stock_is_noticed_once_for_each_fall(threshold: int, steps: list[int]) -> None:
    noticed = [
        model.fell_low(before=before, after=after, threshold=threshold)
        for before, after in pairwise(steps)
    ]
    low = [step <= threshold for step in steps]
    assert noticed == [now and not before for before, now in pairwise(low)]


def test_the_order_of_lines_does_not_make_them_others() -> None:
    model.check_same_lines(reservation(Status.HELD), LINES[::-1])


def test_other_lines_are_refused() -> None:
    with pytest.raises(StatusError, match="RESERVATION_EXISTS"):
        model.check_same_lines(reservation(Status.HELD), LINES[:1])
