"""Seals with certificates: whose a message is, as the authorities in use say it, now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from portico.clock import ManualClock
from portico.security import signatures
from portico.security.authority import issue_all
from portico.security.bundle import CertificateError
from portico.security.certificates import Certificates
from portico.security.seals import SealError, Seals
from portico.topology import Process, Topology
from tests.portico.security.issuing import SERVER, Issuer, ec_key, usage
from tests.portico.security.sealing import ABOUT, BODY, SECRET, Two, signed

DAY_SECONDS = 86_400


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


class TestAMessage:
    @pytest.mark.parametrize(
        "key",
        [
            ec_key,
            lambda: ec.generate_private_key(ec.SECP384R1()),
            lambda: rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate,
        ],
        ids=["P-256", "P-384", "RSA", "Ed25519"],
    )
    def test_names_the_modules_of_its_sender(self, two: Two, key: Callable[[], Any]) -> None:
        own = key()
        sender = two.holder("own", own, two.authority.issue(own, "orders", "catalog"))

        assert two.open(two.seals(sender).seal(BODY, about=ABOUT)) == {"orders", "catalog"}

    def test_is_opened_with_the_certificates_that_portico_makes(self, tmp_path: Path) -> None:
        clock = ManualClock()
        processes = (
            Process(name="shop", modules=("catalog", "orders"), address="10.0.0.7:50053"),
            Process(name="edge", front=True),
        )
        topology = Topology(name="apart", processes={each.name: each for each in processes})
        issue_all(topology, tmp_path, clock=clock)
        shop, edge = (
            Seals(SECRET, certificates=Certificates(tmp_path, each, clock=clock), clock=clock)
            for each in ("shop", "edge")
        )

        modules = edge.open(shop.seal(BODY, about=ABOUT), about=ABOUT).modules
        assert modules == frozenset({"catalog", "orders"})
        assert shop.open(edge.seal(BODY, about=ABOUT), about=ABOUT).modules == frozenset()

    def test_of_one_that_an_issuer_between_has_certified_is_opened(self, two: Two) -> None:
        between = Issuer(two.clock, "between", above=two.authority, usage=usage(issues=True))
        sender = two.holder("own", two.key, between.issue(two.key, "orders"), between.certificate)

        assert two.open(two.seals(sender).seal(BODY, about=ABOUT)) == {"orders"}

    def test_without_a_certificate_is_refused(self, two: Two) -> None:
        sealed = Seals(SECRET, clock=two.clock).seal(BODY, about=ABOUT)

        assert two.refusal(sealed).endswith("has no certificate of its sender")

    def test_is_believed_for_its_secret_where_no_certificates_are_in_use(self, two: Two) -> None:
        assert Seals(SECRET, clock=two.clock).open(two.seal(), about=ABOUT).modules is None

    def test_is_refused_for_another_purpose(self, two: Two) -> None:
        sealed = two.seal()

        with pytest.raises(SealError, match="not sealed about answers"):
            two.opening.open(sealed, about="answers")


class TestTime:
    def test_ends_what_an_expired_certificate_has_signed(self, two: Two) -> None:
        lasting = two.authority.issue(two.key, "payments", days=60)
        two.receiver.put(two.key, lasting)
        sealed = two.seal()

        two.clock.advance(seconds=30 * DAY_SECONDS - 10)
        assert two.open(sealed) == {"orders"}

        two.clock.advance(seconds=11)  # the chain was verified a moment ago
        assert "not good now" in two.refusal(sealed)

    def test_ends_sealing_with_a_certificate_that_nobody_has_renewed(self, two: Two) -> None:
        sealing = two.seals(two.sender)
        two.clock.advance(seconds=30 * DAY_SECONDS + 1)

        with pytest.raises(SealError, match="cannot be sealed: the certificate is not good now"):
            sealing.seal(BODY, about=ABOUT)

    def test_has_to_come_for_a_certificate_of_tomorrow(self, two: Two) -> None:
        tomorrow = ManualClock(two.clock.now())
        tomorrow.advance(seconds=DAY_SECONDS)
        two.authority.clock = tomorrow
        sealed = signed(two.key, two.authority.issue(two.key, "orders"))

        assert "not good now" in two.refusal(sealed)

        two.clock.advance(seconds=DAY_SECONDS + 1)
        assert two.open(sealed) == {"orders"}


class TestRenewal:
    def test_of_the_sender_is_in_its_next_message(self, two: Two) -> None:
        sealing = two.seals(two.sender)
        before = sealing.seal(BODY, about=ABOUT)
        key = ec_key()

        two.sender.put(key, two.authority.issue(key, "orders", "catalog"))

        assert two.open(sealing.seal(BODY, about=ABOUT)) == {"orders", "catalog"}
        assert two.open(before) == {"orders"}

    def test_that_takes_an_authority_away_ends_what_it_has_certified(self, two: Two) -> None:
        sealed = two.seal()
        assert two.open(sealed) == {"orders"}

        other, key = Issuer(two.clock, "another"), ec_key()
        two.receiver.trust(two.authority, other)
        assert two.open(sealed) == {"orders"}
        two.receiver.put(key, other.issue(key, "payments"))
        two.receiver.trust(other)

        assert "of none of the authorities" in two.refusal(sealed)

    def test_with_a_key_that_cannot_sign_is_told_by_the_sender_and_it_still_opens(
        self, two: Two
    ) -> None:
        sealed, key = two.seal(), ed448.Ed448PrivateKey.generate()
        two.receiver.put(key, two.authority.issue(key, "payments"))

        with pytest.raises(SealError, match="cannot be sealed: the key of a process is"):
            two.opening.seal(BODY, about=ABOUT)
        assert two.open(sealed) == {"orders"}


class TestAStart:
    def test_is_refused_with_what_others_would_not_accept(self, two: Two) -> None:
        two.sender.put(two.key, two.authority.issue(two.key, "orders", purpose=SERVER))

        with pytest.raises(CertificateError, match="not good now, or of none"):
            two.seals(two.sender)

    def test_takes_a_certificate_that_does_not_say_which_key_its_authority_has(
        self, two: Two
    ) -> None:
        two.sender.put(two.key, two.authority.issue(two.key, "orders", identified=False))

        two.seals(two.sender)

    def test_takes_an_authority_that_says_what_it_is_for(self, two: Two) -> None:
        strict = Issuer(two.clock, usage=usage(issues=True), depth=0)
        sender = two.holder("own", two.key, strict.issue(two.key, "orders"), trusts=strict)

        two.seals(sender)


class TestMemory:
    def test_saves_the_second_verification_for_a_minute(
        self, two: Two, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sealed, looked = two.seal(), []
        verified = signatures._InUse.verified

        def counting(*args: Any) -> Any:
            looked.append(args)
            return verified(*args)

        monkeypatch.setattr(signatures._InUse, "verified", counting)

        for _ in range(3):
            two.open(sealed)
        assert len(looked) == 1
        two.clock.advance(seconds=60)
        two.open(sealed)
        assert len(looked) == 2

    def test_has_an_end(self, two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(signatures, "_REMEMBERED", 3)
        assert two.opening._signatures is not None

        for _ in range(5):
            two.open(signed(two.key, two.authority.issue(two.key, "orders")))

        assert 1 <= len(two.opening._signatures._in_use.known) <= 3

    def test_is_not_of_chains_that_were_refused(self, two: Two) -> None:
        two.refusal(signed(two.key, Issuer(two.clock).issue(two.key, "orders")))

        assert two.opening._signatures is not None
        assert len(two.opening._signatures._in_use.known) == 1  # its own, from the start
