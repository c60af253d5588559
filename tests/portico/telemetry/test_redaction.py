from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from portico.telemetry.redaction import REDACTED, scrubbed, scrubbed_fields

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c3JfMSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "new_password",
        "Authorization",
        "accessToken",
        "refresh_token",
        "webhook_secret",
        "x-webhook-signature",
        "set-cookie",
        "api_key",
        "apiKey",
        "private_key",
        "DATABASE_URL",
        "email",
        "Email",
        "display_name",
        "phone",
    ],
)
def test_a_telling_key_hides_its_value(key: str) -> None:
    assert scrubbed_fields({key: "hunter2"}) == {key: REDACTED}
    assert scrubbed_fields({"in": [{key: "hunter2"}]}) == {"in": [{key: REDACTED}]}


@pytest.mark.parametrize("key", ["order_id", "method", "emails_sent", "name", "address", "key"])
def test_an_ordinary_key_shows_its_value(key: str) -> None:
    assert scrubbed_fields({key: "x"}) == {key: "x"}


def test_that_a_secret_is_absent_may_be_seen() -> None:
    assert scrubbed_fields({"token": None, "password": ""}) == {"token": None, "password": ""}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app:hunter2@db/shop failed", f"postgresql://app:{REDACTED}@db/shop failed"),
        ("redis://:hunter2@cache:6379", f"redis://:{REDACTED}@cache:6379"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {REDACTED}"),
        (
            "broken\nDETAIL:  Failing row contains (1,\nann@example.com).\n[SQL: INSERT]",
            f"broken\nDETAIL:  {REDACTED}\n[SQL: INSERT]",
        ),
        ("taken\nDETAIL:  Key (email)=(ann@example.com)", f"taken\nDETAIL:  {REDACTED}"),
        ("basic aHVudGVyMg==", f"basic {REDACTED}"),
        (f"token {JWT} expired", f"token {REDACTED} expired"),
        ("see http://127.0.0.1:8080/healthz", "see http://127.0.0.1:8080/healthz"),
        ("mail at 10:30 to a@b", "mail at 10:30 to a@b"),
    ],
)
def test_a_secret_inside_a_text_is_recognised(text: str, shown: str) -> None:
    assert scrubbed(text) == shown
    assert scrubbed(RuntimeError(text)) == f"RuntimeError: {shown}"


def test_an_object_shows_its_type_alone() -> None:
    @dataclass
    class Customer:
        email: str

    assert scrubbed(SecretStr("hunter2")) == "<SecretStr>"
    assert str(scrubbed(Customer("a@b"))).endswith("Customer>")
    assert scrubbed(b"hunter2") == "<bytes>"


def test_plain_values_stay_readable() -> None:
    class Status(Enum):
        PAID = 2

    instant = datetime(2026, 1, 2, tzinfo=UTC)
    assert scrubbed([1, 1.5, True, None]) == [1, 1.5, True, None]
    assert scrubbed((Decimal("1.20"), Path("a/b"), instant)) == ["1.20", "a/b", str(instant)]
    assert scrubbed(Status.PAID) == "Status.PAID"


def test_everything_has_an_end() -> None:
    assert len(str(scrubbed("x" * 100_000))) == 8193
    assert scrubbed(list(range(1000)))[-1] == "…"  # type: ignore[index]  # a list, as the input
    assert len(scrubbed_fields({str(number): 1 for number in range(1000)})) == 100
    endless: list[object] = []
    endless.append(endless)
    assert "<list>" in str(scrubbed(endless))


NESTED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats()
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(NESTED)
def test_what_comes_out_is_always_json(value: object) -> None:
    orjson.dumps(scrubbed(value))
