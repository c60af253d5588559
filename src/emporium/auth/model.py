"""What accounts, passwords and tokens may be: rules alone, no input or output, no clock."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from portico import errors

if TYPE_CHECKING:
    from datetime import datetime

LEAST_PASSWORD_CHARACTERS = 8
MOST_PASSWORD_CHARACTERS = 128

SIGN_UP = "auth.sign_up"
"""The name of the workflow that signs somebody up."""

_BUSY_SECONDS = 1


class Role(StrEnum):
    """What an account may do beyond what everybody may."""

    CUSTOMER = "customer"
    ADMIN = "admin"
    BUSINESS = "business"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who logs in. ``request_digest`` is empty when no request_id made it."""

    user_id: str
    roles: tuple[str, ...]
    password_hash: str = field(repr=False)
    request_digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Who signs up; ``email`` and ``password`` are in the form in which they are compared."""

    email: str = field(repr=False)
    password: str = field(repr=False)
    display_name: str = field(repr=False)
    request_id: str

    @property
    def digest(self) -> bytes:
        """32 bytes that are the same when the content of two requests is.

        Without the password: its only trace is the slow hash.
        """
        return hashlib.sha256(f"{self.email}\0{self.display_name}".encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignUp:
    """An account to be made, as plain data. ``request_id`` and ``request_digest`` may be empty."""

    user_id: str
    email: str = field(repr=False)
    display_name: str = field(repr=False)
    password_hash: str = field(repr=False)
    roles: list[str]
    request_id: str = ""
    request_digest: str = ""
    """In hex."""

    @property
    def key(self) -> str:
        """The same for every repeat of the request."""
        return f"sign_up/{self.request_id or self.user_id}"


# Emails and passwords


def canonical_email(email: str) -> str:
    """The one spelling of an address that is kept and compared."""
    return email.lower()


def email_digest(email: str) -> bytes:
    """32 bytes that stand for an address which may be nobody's, and is not kept for that reason."""
    return hashlib.sha256(canonical_email(email).encode()).digest()


def normal_form(password: str) -> str:
    """The password as it is hashed: Unicode NFKC, so that keyboards make no difference."""
    return unicodedata.normalize("NFKC", password)


def check_length(password: str) -> None:
    """Raise PASSWORD_LENGTH for a password, in normal form, that is too short or too long."""
    if LEAST_PASSWORD_CHARACTERS <= len(password) <= MOST_PASSWORD_CHARACTERS:
        return
    sentence = (
        f"must have {LEAST_PASSWORD_CHARACTERS} to {MOST_PASSWORD_CHARACTERS} characters"
        " in Unicode normal form NFKC"
    )
    violation = errors.Violation("password", sentence, "PASSWORD_LENGTH")
    raise errors.invalid_argument(
        "PASSWORD_LENGTH", f"the password {sentence}", violations=[violation]
    )


# Lockout


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Attempts in a row for one email, none of them right so far, forgotten at ``until``."""

    count: int
    until: datetime


def check_unlocked(failures: Failures | None, *, most: int, now: datetime) -> None:
    """Raise TOO_MANY_ATTEMPTS after ``most`` attempts, until they are forgotten."""
    if failures is None or failures.count < most or failures.until <= now:
        return
    raise errors.resource_exhausted(
        "TOO_MANY_ATTEMPTS",
        "too many wrong passwords; try again later",
        retry_after_seconds=math.ceil((failures.until - now).total_seconds()),
    )


# Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """What a client gets; ``expires_in`` is the access token's rest in seconds."""

    user_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A refresh token and its family: all the tokens that came from one log-in, one after the other."""

    digest: bytes = field(repr=False)
    family_id: str
    user_id: str
    roles: tuple[str, ...]
    expires_at: datetime
    revoked: bool
    spent: bool


class Verdict(Enum):
    """What a refresh token is worth."""

    GOOD = "good"
    INVALID = "invalid"
    REUSED = "reused"


def judge(token: RefreshToken | None, *, now: datetime) -> Verdict:
    """Good is the newest token of a living family. A spent one of such a family betrays a copy."""
    if token is None or token.revoked or token.expires_at <= now:
        return Verdict.INVALID
    return Verdict.REUSED if token.spent else Verdict.GOOD


def token_digest(token: str) -> bytes:
    """What is kept of a refresh token; it has 256 random bits, so a fast hash hides it."""
    return hashlib.sha256(token.encode()).digest()


# Refusals


def email_taken() -> errors.StatusError:
    """The address has an account; it is not repeated, since answers are logged."""
    return errors.already_exists("EMAIL_TAKEN", "an account with this email exists")


def request_id_reused(request_id: str) -> errors.StatusError:
    """The request_id has signed somebody else up, or the same person with other content."""
    return errors.already_exists(
        "REQUEST_ID_REUSED",
        "this request_id (REST: Idempotency-Key) was used for something else; take a new one",
        request_id=request_id,
    )


def credentials_invalid() -> errors.StatusError:
    """One answer for an unknown email and a wrong password."""
    return errors.unauthenticated("CREDENTIALS_INVALID", "the email or the password is wrong")


def too_busy() -> errors.StatusError:
    """No password is looked at now, whoever asks: one answer for every email."""
    return errors.resource_exhausted(
        "TOO_BUSY",
        "too many passwords are being checked at this moment; try again",
        retry_after_seconds=_BUSY_SECONDS,
    )


def refresh_token_invalid() -> errors.StatusError:
    """One answer for whatever is wrong with a token that betrays nothing."""
    return errors.unauthenticated("REFRESH_TOKEN_INVALID", "this session is over; log in again")


def refresh_token_reused() -> errors.StatusError:
    """Somebody has a copy: nobody can tell which of the two is the thief."""
    return errors.unauthenticated(
        "REFRESH_TOKEN_REUSED", "this token was used before, so the session was ended; log in again"
    )
