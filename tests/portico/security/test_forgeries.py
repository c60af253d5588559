"""Seals with certificates: what a process must not get believed, though it has the secret of all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from portico.security import framing, signatures
from portico.security.seals import _digest, _heading
from tests.portico.security.issuing import SERVER, Issuer, ec_key, usage
from tests.portico.security.sealing import ABOUT, Two, forged, signed


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Two, bytes]:
    """For hypothesis, which wants the same for all its examples."""
    two = Two(tmp_path_factory.mktemp("known"))
    return two, two.seal()


class TestASender:
    def test_of_another_authority_is_refused(self, two: Two) -> None:
        foreign = Issuer(two.clock)  # with the same name

        message = two.refusal(signed(two.key, foreign.issue(two.key, "orders")))

        assert "the certificate is not good now, or of none of the authorities" in message

    def test_that_brings_its_own_authority_along_is_refused(self, two: Two) -> None:
        foreign = Issuer(two.clock)

        two.refusal(signed(two.key, foreign.issue(two.key, "orders"), foreign.certificate))

    def test_that_another_process_has_certified_is_refused(self, two: Two) -> None:
        process = Issuer(two.clock, "some", key=two.key)
        process.certificate = two.authority.issue(two.key, "orders", use=usage(signs=True))
        mine = ec_key()

        two.refusal(signed(mine, process.issue(mine, "payments"), process.certificate))

    def test_without_the_key_of_its_certificate_is_refused(self, two: Two) -> None:
        sealed = signed(ec_key(), two.authority.issue(two.key, "orders"))

        assert "the signature is not by the key of its certificate" in two.refusal(sealed)

    def test_with_the_signature_over_another_message_is_refused(self, two: Two) -> None:
        certificate = two.authority.issue(two.key, "orders")
        chain = framing.joined([certificate.public_bytes(Encoding.DER)])
        other = signatures._signed(chain, _digest(_heading(ABOUT), b"an order was cancelled"))

        message = two.refusal(forged(chain, signatures._signature(two.key, other)))

        assert "the signature is not by the key of its certificate" in message

    def test_with_another_certificate_of_the_same_key_is_refused(self, two: Two) -> None:
        former = two.authority.issue(two.key, "orders", "payments")
        chain = framing.joined([former.public_bytes(Encoding.DER)])
        _, rest = framing.first(two.seal()[33:])
        signature, _ = framing.first(rest)

        assert "not by the key of its certificate" in two.refusal(forged(chain, signature))

    @pytest.mark.parametrize(
        "key",
        [
            lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 - on purpose
            lambda: ec.generate_private_key(ec.SECP224R1()),
            ed448.Ed448PrivateKey.generate,
        ],
        ids=["RSA of 1024 bits", "P-224", "Ed448"],
    )
    def test_with_a_key_that_is_too_short_or_of_another_kind_is_refused(
        self, two: Two, key: Callable[[], Any]
    ) -> None:
        own = key()
        certificate = two.authority.issue(own, "orders")
        chain = framing.joined([certificate.public_bytes(Encoding.DER)])

        assert "the key of a process is Ed25519, EC of 256 bits" in two.refusal(forged(chain, b""))

    def test_whose_certificate_is_for_something_else_is_refused(self, two: Two) -> None:
        issue = two.authority.issue

        two.refusal(signed(two.key, issue(two.key, "orders", purpose=SERVER)))
        two.refusal(signed(two.key, issue(two.key, "orders", use=usage())))
        assert two.open(signed(two.key, issue(two.key, "orders", purpose=None))) == {"orders"}

    @pytest.mark.parametrize(
        ("was", "new"),
        [
            ("a003020102", "a003020107"),
            ("0603551d11", "0603551d25"),
            ("8616" + b"portico".hex(), "a316" + b"portico".hex()),
            ("06072a8648ce3d0201", "06072a8648ce3d0205"),
        ],
        ids=["its version", "an extension twice", "a kind of name", "a kind of key"],
    )
    def test_whose_certificate_has_what_nobody_knows_is_refused(
        self, two: Two, was: str, new: str
    ) -> None:
        good = two.authority.issue(two.key, "orders")
        altered = two.authority.alter(good, bytes.fromhex(was), bytes.fromhex(new))

        message = two.refusal(forged(framing.joined([altered]), b""))

        assert "not good now" in message

    def test_that_is_an_authority_is_refused(self, two: Two) -> None:
        two.refusal(signed(two.authority.key, two.authority.certificate))

    def test_whose_authority_may_not_issue_is_refused(self, two: Two) -> None:
        between = Issuer(two.clock, "between", above=two.authority, usage=usage(signs=True))

        two.refusal(signed(two.key, between.issue(two.key, "orders"), between.certificate))

    def test_with_too_long_a_chain_is_refused(self, two: Two) -> None:
        certificate = two.authority.issue(two.key, "orders")

        assert "16384 bytes at the most" in two.refusal(signed(two.key, *([certificate] * 60)))


class TestAnythingElse:
    @given(st.data())
    def test_is_refused_when_any_bit_is_another(
        self, known: tuple[Two, bytes], data: st.DataObject
    ) -> None:
        two, sealed = known

        two.refusal(flipped(sealed, data))

    @given(st.data())
    def test_is_refused_when_a_holder_of_the_secret_changes_chain_or_signature(
        self, known: tuple[Two, bytes], data: st.DataObject
    ) -> None:
        two, sealed = known
        chain, rest = framing.first(sealed[33:])
        signature, _ = framing.first(rest)
        both = flipped(chain + signature, data)

        two.refusal(forged(both[: len(chain)], both[len(chain) :]))

    @given(st.binary(max_size=200), st.binary(max_size=80))
    def test_is_refused_when_a_holder_of_the_secret_makes_it_up(
        self, known: tuple[Two, bytes], chain: bytes, signature: bytes
    ) -> None:
        two, _ = known

        two.refusal(forged(chain, signature))
        two.refusal(forged(framing.joined([chain]), signature))


def flipped(text: bytes, data: st.DataObject) -> bytes:
    """All of it but for one bit."""
    changed = bytearray(text)
    changed[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(changed)
