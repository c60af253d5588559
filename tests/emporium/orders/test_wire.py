from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from emporium.orders import wire
from emporium.orders.model import Position
from portico.errors import StatusError

MINOR = st.integers(0, 10**14)
SECONDS = st.integers(0, 4_000_000_000)
ID = st.from_regex(r"\A[0-9A-Za-z_-]{1,64}\Z")


def encoded(content: object) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode())
        .decode()
        .rstrip("=")
    )


@given(MINOR)
def test_money_survives_the_wire_exactly(minor: int) -> None:
    assert wire.minor_of(wire.money(minor, "USD")) == minor


@given(MINOR)
def test_the_displayed_amount_prints_with_two_decimals_at_most(minor: int) -> None:
    assert Decimal(repr(wire.displayed(minor))) == Decimal(minor) / 100


def test_the_amount_of_two_kettles_prints_as_149_98() -> None:
    assert repr(wire.displayed(2 * 7499)) == "149.98"


def test_a_price_finer_than_a_cent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.001000000 has more than two decimals"):
        wire.minor_of(Money(currency_code="USD", nanos=1_000_000))


@given(ID, SECONDS, ID)
def test_a_page_token_leads_back_to_its_place(
    customer_id: str, seconds: int, order_id: str
) -> None:
    position = Position(datetime.fromtimestamp(seconds, UTC), order_id)
    token = wire.page_token(position, customer_id=customer_id)

    assert wire.position_of(token, customer_id=customer_id) == position
    assert len(token) <= 512


def test_no_token_is_the_beginning() -> None:
    assert wire.position_of("", customer_id="usr_1") is None


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "é",
        "====",
        encoded([]),
        encoded({"usr_1": 1}),
        encoded(["usr_1", 1, "ord_1", "more"]),
        encoded(["usr_2", 1, "ord_1"]),
        encoded(["usr_1", "1", "ord_1"]),
        encoded(["usr_1", 1.5, "ord_1"]),
        encoded(["usr_1", True, "ord_1"]),
        encoded(["usr_1", 10**30, "ord_1"]),
        encoded(["usr_1", 1, 1]),
        encoded(["usr_1", 1, None]),
        encoded(["usr_1", 1, "ord\0"]),
        encoded(["usr_1", 1, ""]),
        encoded(["usr_1", 1, "ord_1"]) + "=",
        encoded(["usr_1", 1, "ord_1"]) + "!",
        base64.urlsafe_b64encode(b'["usr_1", 1, "ord_1"]').decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_a_token_that_this_list_never_gave_out_is_refused(token: str) -> None:
    with pytest.raises(StatusError) as refusal:
        wire.position_of(token, customer_id="usr_1")

    assert refusal.value.reason == "PAGE_TOKEN_INVALID"
    assert [each.field for each in refusal.value.violations] == ["page_token"]


@given(st.text(min_size=1, max_size=60))
def test_no_text_is_taken_for_a_token_by_chance(text: str) -> None:
    with pytest.raises(StatusError, match="PAGE_TOKEN_INVALID"):
        wire.position_of(text, customer_id="usr_1")
