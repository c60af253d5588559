"""Passports alone: what is issued is read again, and nothing else is."""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.clock import ManualClock
from portico.context import ANONYMOUS, Call, Identity, StepMark, root
from portico.errors import StatusError
from portico.security.passport import LEAST_SECRET_BYTES, Passport, Passports

SECRET = b"0123456789abcdef"
SERVICE = "commerce.payments.v1.PaymentsService"
ANN = Identity("usr_ann", frozenset({"customer", "admin"}))
STEP = StepMark("orders", "ord_1/place/charge")


def passports(clock: ManualClock | None = None, *, secret: bytes = SECRET) -> Passports:
    return Passports(secret, clock=clock or ManualClock())


def inside(identity: Identity = ANN, step: StepMark | None = STEP) -> Call:
    call = root(module="orders", identity=identity)
    call.step = step
    return call


def refusal(value: str, *, audience: str = SERVICE, clock: ManualClock | None = None) -> str:
    with pytest.raises(StatusError) as caught:
        passports(clock).read(value, audience)
    assert caught.value.code().name == "UNAUTHENTICATED"
    assert caught.value.reason == "PASSPORT_INVALID"
    return caught.value.message


ANY = st.text(st.characters(codec=None), max_size=30)


@given(
    caller=ANY,
    subject=ANY,
    roles=st.frozensets(ANY, max_size=4),
    step=st.none() | st.builds(StepMark, ANY, ANY, st.booleans()),
    audience=ANY,
)
def test_what_is_issued_is_read_again(
    caller: str, subject: str, roles: frozenset[str], step: StepMark | None, audience: str
) -> None:
    call = inside(Identity(subject, roles), step)

    value = passports().issue(caller, call, audience)

    assert re.fullmatch(r"[\x21-\x7e]+", value)  # what metadata can carry
    assert passports().read(value, audience) == Passport(caller, Identity(subject, roles), step)


def test_outside_any_call_it_is_for_nobody() -> None:
    value = passports().issue("orders", None, SERVICE)

    assert passports().read(value, SERVICE) == Passport("orders", ANONYMOUS, None)


def test_what_runs_beside_a_step_is_not_in_it() -> None:
    value = passports().issue("orders", inside(), SERVICE, in_step=False)

    assert passports().read(value, SERVICE) == Passport("orders", ANN, None)


def test_it_is_refused_under_another_secret() -> None:
    value = passports(secret=b"another secret of 16 and more").issue("orders", inside(), SERVICE)

    assert "not one of this application" in refusal(value)


def test_it_is_refused_for_another_audience() -> None:
    value = passports().issue("orders", inside(), SERVICE)

    assert "not for commerce.users" in refusal(value, audience="commerce.users.v1.UsersService")


def test_it_is_good_for_its_lifetime_and_no_longer() -> None:
    clock = ManualClock()
    value = passports(clock).issue("orders", inside(), SERVICE)

    clock.advance(seconds=29)
    assert passports(clock).read(value, SERVICE).caller == "orders"

    clock.advance(seconds=1)
    assert "has expired" in refusal(value, clock=clock)


def test_it_is_refused_when_any_character_of_it_is_another() -> None:
    value = passports().issue("orders", inside(), SERVICE)

    for place, was in enumerate(value):
        refusal(value[:place] + ("x" if was != "x" else "y") + value[place + 1 :])
        refusal(value[:place] + value[place + 1 :])


@pytest.mark.parametrize("value", ["", ";", "1;orders", "a" * 10_000, "1;é;" + "0" * 64, ";" * 20])
def test_what_is_no_passport_is_refused(value: str) -> None:
    refusal(value)


@pytest.mark.parametrize("text", ["2;orders;x;9999999999;;;;;", "1;orders;x", "", "1" + ";" * 9])
def test_another_kind_of_text_under_the_same_signature_is_refused(text: str) -> None:
    signature = hmac.new(SECRET, text.encode(), hashlib.sha256).hexdigest()

    refusal(f"{text};{signature}", audience="x")


def test_a_passport_that_is_too_long_is_refused() -> None:
    value = passports().issue("orders", inside(Identity("é" * 2000)), SERVICE)

    refusal(value)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match=f"needs {LEAST_SECRET_BYTES}"):
        Passports(b"0" * (LEAST_SECRET_BYTES - 1), clock=ManualClock())


class TestRemembering:
    def test_sends_the_same_passport_for_a_third_of_its_lifetime(self) -> None:
        clock = ManualClock()
        issuer = passports(clock)
        first = issuer.issue("orders", inside(step=None), SERVICE)

        clock.advance(seconds=9)
        assert issuer.issue("orders", inside(step=None), SERVICE) is first
        clock.advance(seconds=1)
        assert issuer.issue("orders", inside(step=None), SERVICE) != first

    def test_tells_callers_users_steps_and_audiences_apart(self) -> None:
        issuer, reader = passports(), passports()
        for caller in ("orders", "catalog"):
            for audience in (SERVICE, "commerce.users.v1.UsersService"):
                for call in (
                    inside(step=None),
                    inside(Identity("usr_ann"), None),
                    inside(Identity("usr_bob"), None),
                    inside(),
                    inside(step=StepMark("orders", "ord_2/place/charge")),
                ):
                    for _ in range(2):
                        value = issuer.issue(caller, call, audience)
                        found = reader.read(value, audience)
                        assert found == Passport(caller, call.identity, call.step)

    def test_outlives_no_passport(self) -> None:
        clock = ManualClock()
        reader = passports(clock)
        value = passports(clock).issue("orders", inside(step=None), SERVICE)
        reader.read(value, SERVICE)
        clock.advance(seconds=30)

        with pytest.raises(StatusError, match="has expired"):
            reader.read(value, SERVICE)

    def test_makes_no_passport_good_for_another_audience(self) -> None:
        reader = passports()
        value = passports().issue("orders", inside(step=None), SERVICE)
        reader.read(value, SERVICE)

        with pytest.raises(StatusError, match=r"not for commerce\.users"):
            reader.read(value, "commerce.users.v1.UsersService")

    def test_is_bounded(self) -> None:
        issuer = Passports(SECRET, clock=ManualClock(), remembered=10)
        for number in range(95):
            identity = Identity(f"usr_{number}")
            value = issuer.issue("orders", inside(identity, None), SERVICE)
            assert issuer.read(value, SERVICE).identity == identity
            assert len(issuer._issued) <= 10
            assert len(issuer._read) <= 10

    def test_is_not_for_steps_of_which_each_is_another(self) -> None:
        issuer = passports()
        issuer.read(issuer.issue("orders", inside(), SERVICE), SERVICE)

        assert not issuer._issued
        assert not issuer._read
