from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from portico.clock import ManualClock
from portico.context import Identity
from portico.errors import StatusError
from portico.security.keys import thumbprint
from portico.security.tokens import TokenAuthenticator, TokenSigner

KEY = Ed25519PrivateKey.generate()
KEY_ID = thumbprint(KEY.public_key())
ANN = Identity("usr_ann", frozenset({"customer", "admin"}))


class Issuer:
    """Signs and checks with one key and one clock."""

    def __init__(self, *, remembered: int = 10_000) -> None:
        self.clock = ManualClock()
        self.keys = {KEY_ID: KEY.public_key()}
        self.authenticate = TokenAuthenticator(
            keys=lambda: self.keys, issuer="shop", clock=self.clock, remembered=remembered
        )

    def sign(self, identity: Identity = ANN, *, issuer: str = "shop", key_id: str = KEY_ID) -> str:
        signer = TokenSigner(
            key=KEY, key_id=key_id, issuer=issuer, lifetime_seconds=900, clock=self.clock
        )
        return signer.sign(identity)

    def forge(
        self, *, key: Any = KEY, algorithm: str = "EdDSA", without: str = "", **claims: object
    ) -> str:
        now = self.clock.now()
        whole = {
            "iss": "shop",
            "sub": "usr_ann",
            "iat": now,
            "exp": now + timedelta(seconds=60),
        } | claims
        whole.pop(without, None)
        return jwt.encode(whole, key, algorithm=algorithm, headers={"kid": KEY_ID})


def refusal(issuer: Issuer, authorization: str) -> str:
    with pytest.raises(StatusError) as caught:
        issuer.authenticate(authorization)
    assert caught.value.code().name == "UNAUTHENTICATED"
    return caught.value.reason


def test_what_was_signed_is_recognised_with_subject_and_roles() -> None:
    issuer = Issuer()
    token = issuer.sign()
    assert issuer.authenticate(f"Bearer {token}") == ANN
    assert issuer.authenticate(f"bearer {token}") == ANN


def test_a_token_expires_even_when_it_is_remembered() -> None:
    issuer = Issuer()
    header = f"Bearer {issuer.sign()}"
    issuer.authenticate(header)
    issuer.clock.advance(seconds=899)
    issuer.authenticate(header)
    issuer.clock.advance(seconds=1)
    assert refusal(issuer, header) == "TOKEN_EXPIRED"


def test_a_token_does_not_outlive_its_withdrawn_key_for_long() -> None:
    issuer = Issuer()
    header = f"Bearer {issuer.sign()}"
    issuer.authenticate(header)
    issuer.keys = {}
    issuer.clock.advance(seconds=300)
    assert refusal(issuer, header) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "token", "Bearer x", "Bearer ü"]
)
def test_a_header_without_a_token_is_refused(header: str) -> None:
    assert refusal(Issuer(), header) == "TOKEN_INVALID"


def test_a_token_of_another_issuer_or_key_is_refused() -> None:
    issuer = Issuer()
    assert refusal(issuer, f"Bearer {issuer.sign(issuer='other')}") == "TOKEN_INVALID"
    assert refusal(issuer, f"Bearer {issuer.sign(key_id='unknown')}") == "TOKEN_INVALID"
    assert (
        refusal(issuer, f"Bearer {issuer.forge(key=Ed25519PrivateKey.generate())}")
        == "TOKEN_INVALID"
    )


def test_the_public_key_is_no_shared_secret_and_no_algorithm_is_no_signature() -> None:
    issuer = Issuer()
    confused = issuer.forge(key=KEY.public_key().public_bytes_raw(), algorithm="HS256")
    assert refusal(issuer, f"Bearer {confused}") == "TOKEN_INVALID"
    assert refusal(issuer, f"Bearer {issuer.forge(key=None, algorithm='none')}") == "TOKEN_INVALID"


@pytest.mark.parametrize("claim", ["exp", "iat", "iss", "sub"])
def test_a_token_without_one_of_the_claims_is_refused(claim: str) -> None:
    issuer = Issuer()
    assert refusal(issuer, f"Bearer {issuer.forge(without=claim)}") == "TOKEN_INVALID"


def test_a_token_without_roles_has_none() -> None:
    issuer = Issuer()
    assert issuer.authenticate(f"Bearer {issuer.forge()}") == Identity("usr_ann", frozenset())


@pytest.mark.parametrize(
    "header", ["[" * 2900, '{"a":' * 580, "[]", "null", "9" * 2900, '{"kid":7}', '{"alg":{}}']
)
def test_a_strange_header_is_an_invalid_token_and_not_a_fault(header: str) -> None:
    token = base64.urlsafe_b64encode(header.encode()).decode().rstrip("=") + ".e30.AA"
    assert refusal(Issuer(), f"Bearer {token}") == "TOKEN_INVALID"


def test_a_token_of_unreasonable_length_is_refused_unread() -> None:
    issuer = Issuer()
    long = Identity("usr_ann", frozenset({"r" * 4000}))
    assert refusal(issuer, f"Bearer {issuer.sign(long)}") == "TOKEN_INVALID"


@given(position=st.integers(0, 10_000), character=st.characters(codec="ascii"))
def test_a_changed_character_makes_the_token_invalid(position: int, character: str) -> None:
    issuer = Issuer()
    token = issuer.sign()
    position %= len(token) - 1  # the last one has bits that no byte takes
    if token[position] != character:
        changed = token[:position] + character + token[position + 1 :]
        assert refusal(issuer, f"Bearer {changed}") == "TOKEN_INVALID"


def test_only_so_many_tokens_are_remembered() -> None:
    issuer = Issuer(remembered=2)
    for name in ("usr_a", "usr_b", "usr_c"):
        issuer.authenticate(f"Bearer {issuer.sign(Identity(name))}")
    assert len(issuer.authenticate._verified) == 2
