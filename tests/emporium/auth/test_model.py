from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emporium.auth.model import (
    Account,
    Applicant,
    Failures,
    RefreshToken,
    SignUp,
    TokenPair,
    Verdict,
    canonical_email,
    check_length,
    check_unlocked,
    email_digest,
    judge,
    normal_form,
    token_digest,
)
from portico.errors import StatusError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)

GOOD = RefreshToken(
    digest=b"d",
    family_id="fam_1",
    user_id="usr_1",
    roles=("customer",),
    expires_at=LATER,
    revoked=False,
    spent=False,
)


@given(st.emails())
def test_an_email_is_compared_without_regard_to_case(email: str) -> None:
    assert canonical_email(email.upper()) == canonical_email(email)
    assert email_digest(email.upper()) == email_digest(email)


@given(st.text())
def test_a_password_is_the_same_however_its_characters_are_composed(password: str) -> None:
    normal = normal_form(password)
    assert normal_form(normal) == normal
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert normal_form(unicodedata.normalize(form, password)) == normal


@given(st.text(st.characters(codec="ascii"), min_size=8, max_size=128))
def test_a_password_of_a_good_length_may_have_any_characters(password: str) -> None:
    check_length(normal_form(password))


@pytest.mark.parametrize(
    "password",
    [
        "1234567",
        "x" * 129,
        "e\u0301" * 7,  # 14 characters that are 7
        "\ufdfa" * 8,  # 8 characters that are 144
    ],
)
def test_the_length_of_a_password_is_that_of_its_normal_form(password: str) -> None:
    with pytest.raises(StatusError) as error:
        check_length(normal_form(password))
    assert (error.value.code().name, error.value.reason) == ("INVALID_ARGUMENT", "PASSWORD_LENGTH")
    assert [violation.field for violation in error.value.violations] == ["password"]
    assert password not in str(error.value)


@pytest.mark.parametrize(
    ("failures", "locked"),
    [
        (None, False),
        (Failures(count=2, until=LATER), False),
        (Failures(count=3, until=LATER), True),
        (Failures(count=9, until=LATER), True),
        (Failures(count=9, until=NOW), False),
        (Failures(count=9, until=EARLIER), False),
    ],
)
def test_an_email_is_locked_after_so_many_failures_until_they_are_forgotten(
    failures: Failures | None,
    locked: bool,
) -> None:
    if not locked:
        check_unlocked(failures, most=3, now=NOW)
        return
    with pytest.raises(StatusError) as error:
        check_unlocked(failures, most=3, now=NOW)
    assert error.value.reason == "TOO_MANY_ATTEMPTS"
    assert error.value.metadata == {"retry_after_seconds": "1"}


@pytest.mark.parametrize(
    ("token", "verdict"),
    [
        (GOOD, Verdict.GOOD),
        (None, Verdict.INVALID),
        (replace(GOOD, expires_at=NOW), Verdict.INVALID),
        (replace(GOOD, revoked=True), Verdict.INVALID),
        (replace(GOOD, spent=True), Verdict.REUSED),
        (replace(GOOD, spent=True, revoked=True), Verdict.INVALID),
        (replace(GOOD, spent=True, expires_at=EARLIER), Verdict.INVALID),
    ],
)
def test_a_refresh_token_is_good_once_in_a_living_family(
    token: RefreshToken | None, verdict: Verdict
) -> None:
    assert judge(token, now=NOW) is verdict


def test_nothing_secret_or_personal_is_printed() -> None:
    secret = "s3cret"
    things = [
        Account(user_id="u", roles=(), password_hash=secret, request_digest=secret.encode()),
        Applicant(email=secret, password=secret, display_name=secret, request_id="r"),
        SignUp(user_id="u", email=secret, display_name=secret, password_hash=secret, roles=[]),
        TokenPair(user_id="u", access_token=secret, refresh_token=secret, expires_in=1),
        replace(GOOD, digest=secret.encode()),
    ]
    assert secret not in repr(things)


def test_what_is_kept_of_a_token_does_not_show_it() -> None:
    assert len(token_digest("secret")) == 32
    assert b"secret" not in token_digest("secret")
    assert token_digest("secret") != token_digest("secres")
