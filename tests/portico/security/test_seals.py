"""Seals by the secret alone: what was sealed is opened again, for the same purpose, and nothing else is."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.clock import ManualClock
from portico.security.passport import LEAST_SECRET_BYTES
from portico.security.seals import Opened, SealError, Seals

SECRET = b"0123456789abcdef"
ABOUT = "events for payments"
BODY = b"an order was placed"


def seals(secret: bytes = SECRET) -> Seals:
    return Seals(secret, clock=ManualClock())


SEALED = seals().seal(BODY, about=ABOUT)


def refusal(sealed: bytes, *, about: str = ABOUT, secret: bytes = SECRET) -> str:
    with pytest.raises(SealError) as caught:
        seals(secret).open(sealed, about=about)
    return str(caught.value)


@given(body=st.binary(max_size=200), about=st.text(st.characters(codec=None), max_size=20))
def test_what_is_sealed_is_opened_again(body: bytes, about: str) -> None:
    assert seals().open(seals().seal(body, about=about), about=about) == Opened(body, None)


def test_it_is_refused_under_another_secret() -> None:
    message = refusal(SEALED, secret=b"another secret of 16 and more")

    assert message.startswith("the message was not sealed about events for payments")


def test_it_is_refused_for_another_purpose() -> None:
    assert "not sealed about answers for payments" in refusal(SEALED, about="answers for payments")


def test_no_purpose_and_body_are_taken_for_others_that_read_alike() -> None:
    refusal(seals().seal(b"bc", about="a"), about="ab")
    assert seals().seal(b"bc", about="a")[1:33] != seals().seal(b"c", about="ab")[1:33]


@given(
    place=st.integers(0, len(SEALED) - 1),
    bit=st.integers(0, 7),
)
def test_it_is_refused_when_any_bit_of_it_is_another(place: int, bit: int) -> None:
    changed = bytearray(SEALED)
    changed[place] ^= 1 << bit

    refusal(bytes(changed))


def test_it_is_refused_when_something_is_missing_or_added() -> None:
    for length in range(len(SEALED)):
        refusal(SEALED[:length])
        refusal(SEALED[:length] + SEALED[length + 1 :])
    refusal(SEALED + b"\0")


@given(st.binary(max_size=300))
def test_what_is_no_seal_is_refused(sealed: bytes) -> None:
    refusal(sealed)
    refusal(b"\x01" + sealed)


@given(st.binary(max_size=60))
def test_what_only_a_holder_of_the_secret_can_make_is_refused_when_it_makes_no_sense(
    content: bytes,
) -> None:
    sealed = coded(content)

    try:
        opened = seals().open(sealed, about=ABOUT)
    except SealError as failure:
        assert "not laid out as it should be" in str(failure)  # noqa: PT017
    else:
        assert content.endswith(opened.body)


def test_lengths_that_lie_are_refused() -> None:
    for content in (b"", b"\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\5abcd"):
        assert "not laid out as it should be" in refusal(coded(content))


def test_its_code_is_that_of_rfc_2104_with_a_key_of_its_own() -> None:
    assert coded(b"\0" * 8 + BODY) == SEALED


def coded(content: bytes) -> bytes:
    """``content`` with the code that belongs to it, written once more from what is documented."""
    key = hmac.new(SECRET, b"portico event stream", hashlib.sha256).digest()
    about = ABOUT.encode()
    text = b"\x01" + len(about).to_bytes(4, "big") + about + content
    return b"\x01" + hmac.new(key, text, hashlib.sha256).digest() + content


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 16 at the least"):
        seals(b"x" * (LEAST_SECRET_BYTES - 1))
