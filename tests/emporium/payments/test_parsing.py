"""Whatever somebody sends to the webhook: it is read as it should be, or refused with a reason."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emporium.payments import notification, signature
from portico.errors import StatusError

NOW = datetime(2026, 5, 29, 13, 7, 5, tzinfo=UTC)
SECRETS = {"aurora": "whsec_of_aurora", "borealis": "whsec_of_borealis"}
NEWS = {"paymentId": "pay_1", "orderId": "ord_1", "amount": 1, "status": "SUCCESS"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def reason(work: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(StatusError) as caught:
        work(*arguments, **more)
    return caught.value.reason


@given(st.binary(max_size=200))
def test_any_bytes_are_a_notification_or_malformed(body: bytes) -> None:
    with suppress(StatusError):
        notification.read(body)


@given(st.sampled_from([*NEWS, "timestamp", "other"]), VALUES)
def test_any_value_in_any_field_is_taken_or_named(field: str, value: Any) -> None:
    body = json.dumps(NEWS | {field: value}).encode()
    try:
        news = notification.read(body)
    except StatusError as refusal:
        named = [violation.field for violation in refusal.violations]
        if named != [field] and named:
            raise
    else:
        assert 0 <= news.amount < 10**15


@given(st.decimals(0, 10**14, places=6))
def test_an_amount_is_never_changed_on_the_way(amount: Decimal) -> None:
    body = json.dumps(NEWS).replace(": 1", f": {amount:f}").encode()
    assert notification.read(body).amount == amount


@given(st.text(max_size=200))
def test_no_header_that_somebody_makes_up_is_a_signature(header: str) -> None:
    found = reason(signature.signers, header, b"{}", secrets=SECRETS, now=NOW)
    assert found == "WEBHOOK_SIGNATURE_INVALID"


@given(st.binary(max_size=200), st.sampled_from(sorted(SECRETS)), st.integers(-300, 300))
def test_what_a_provider_signed_is_known_as_its_own(body: bytes, name: str, late: int) -> None:
    at = datetime.fromtimestamp(NOW.timestamp() + late, UTC)
    header = signature.sign(body, secret=SECRETS[name], now=at)
    assert signature.signers(header, body, secrets=SECRETS, now=NOW) == {name}


def test_two_providers_with_one_secret_are_both_meant() -> None:
    header = signature.sign(b"{}", secret="whsec_demo", now=NOW)
    secrets = dict.fromkeys(SECRETS, "whsec_demo")
    assert signature.signers(header, b"{}", secrets=secrets, now=NOW) == {"aurora", "borealis"}


def test_without_any_secret_nobody_is_believed() -> None:
    header = signature.sign(b"{}", secret="", now=NOW)
    assert (
        reason(signature.signers, header, b"{}", secrets={}, now=NOW) == "WEBHOOK_SIGNATURE_INVALID"
    )


def test_the_documented_example_is_signed_as_documented() -> None:
    """The digest was made with ``openssl dgst -sha256 -hmac whsec_demo``, not with this code."""
    body = b'{"paymentId": "pay_8830172d"}'
    header = signature.sign(body, secret="whsec_demo", now=NOW)
    assert header == f"t=1780060025,v1={EXPECTED}"


EXPECTED = "d43998faf2697e9b3b1edf9510e71ed293c8aad19cbef47df414944a63ac97b8"
