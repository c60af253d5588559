from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from portico import errors
from portico.clock import ManualClock
from portico.security.keys import KeyRing, encoded, public_keys, thumbprint

if TYPE_CHECKING:
    from collections.abc import Mapping

# RFC 8037, appendix A.2 and A.3.
EXAMPLE_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
EXAMPLE_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def jwk(
    *, x: str = EXAMPLE_X, kid: str = "k", kty: str = "OKP", crv: str = "Ed25519"
) -> SimpleNamespace:
    return SimpleNamespace(x=x, kid=kid, kty=kty, crv=crv)


def test_the_standards_example_has_the_standards_thumbprint() -> None:
    key = public_keys([jwk()])["k"]
    assert encoded(key) == EXAMPLE_X
    assert thumbprint(key) == EXAMPLE_THUMBPRINT


@given(st.binary(min_size=32, max_size=32))
def test_a_key_survives_being_written_as_a_jwk(raw: bytes) -> None:
    key = Ed25519PublicKey.from_public_bytes(raw)
    assert public_keys([jwk(x=encoded(key))])["k"].public_bytes_raw() == raw


def test_keys_of_other_kinds_are_passed_over() -> None:
    others = [jwk(kid="ec", kty="EC", crv="P-256"), jwk(kid="x", crv="X25519"), jwk()]
    assert list(public_keys(others)) == ["k"]


@pytest.mark.parametrize(
    "x", ["", "AAAA", EXAMPLE_X + "AA", "!" * 43, EXAMPLE_X[:-1] + "é", EXAMPLE_X[:-2] + "+/"]
)
def test_a_malformed_key_is_refused(x: str) -> None:
    with pytest.raises(ValueError, match="the x of"):
        public_keys([jwk(x=x)])


class Issuer:
    """Somebody who has keys, and may be away."""

    def __init__(self, *key_ids: str) -> None:
        self.keys = {key_id: Ed25519PrivateKey.generate().public_key() for key_id in key_ids}
        self.away = False
        self.asked = 0

    def fetch(self) -> Mapping[str, Ed25519PublicKey]:
        self.asked += 1
        if self.away:
            raise errors.unavailable("DATABASE_UNAVAILABLE", "away")
        return dict(self.keys)

    def add(self, key_id: str) -> None:
        self.keys[key_id] = Ed25519PrivateKey.generate().public_key()


def test_a_ring_fetches_once_for_many_questions() -> None:
    issuer = Issuer("a", "b")
    ring = KeyRing(fetch=issuer.fetch, clock=ManualClock())
    assert ring.find("a") is not None
    assert ring.find("b") is not None
    assert issuer.asked == 1


def test_a_ring_asks_for_an_unknown_key_but_not_for_every_token_that_names_one() -> None:
    issuer, clock = Issuer("a"), ManualClock()
    ring = KeyRing(fetch=issuer.fetch, clock=clock)
    for _ in range(100):
        assert ring.find("b") is None
    assert issuer.asked == 1
    issuer.add("b")
    clock.advance(seconds=10)
    assert ring.find("b") is not None


def test_a_ring_forgets_a_withdrawn_key_within_five_minutes() -> None:
    issuer, clock = Issuer("a"), ManualClock()
    ring = KeyRing(fetch=issuer.fetch, clock=clock)
    assert ring.find("a") is not None
    del issuer.keys["a"]
    clock.advance(seconds=300)
    assert ring.find("a") is None


def test_a_ring_keeps_what_it_knows_while_the_issuer_is_away() -> None:
    issuer, clock = Issuer("a"), ManualClock()
    ring = KeyRing(fetch=issuer.fetch, clock=clock)
    ring.find("a")
    issuer.away = True
    clock.advance(seconds=301)
    assert ring.find("a") is not None


def test_a_ring_does_not_call_a_key_unknown_when_nobody_could_be_asked() -> None:
    issuer = Issuer("a")
    issuer.away = True
    ring = KeyRing(fetch=issuer.fetch, clock=ManualClock())
    with pytest.raises(errors.StatusError):
        ring.find("a")
    issuer.away = False
    assert ring.find("a") is not None
