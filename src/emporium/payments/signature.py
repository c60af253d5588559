"""The signature of a webhook: ``t=<unix seconds>,v1=<hex>``, an HMAC-SHA256 of ``<t>.`` and the raw body."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico import errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

TOLERANCE_SECONDS = 300
_MOST_CANDIDATES = 16

_TIME = re.compile(r"[0-9]{1,15}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Signature:
    """A header that was read: the time as it was written, and the digests that are offered for it."""

    time: str
    digests: tuple[bytes, ...]


def signers(
    header: str, body: bytes, *, secrets: Mapping[str, str], now: datetime
) -> frozenset[str]:
    """The names of those whose secret signed ``body``; not empty.

    Several digests may be offered, as while a secret is being changed: one has to match. Every one
    is compared with every secret in constant time, so an answer's delay says nothing. Raises
    WEBHOOK_SIGNATURE_INVALID, or WEBHOOK_EXPIRED when a good signature is more than five minutes off.
    """
    signature = _read(header)
    found = frozenset(name for name, secret in secrets.items() if _matches(signature, secret, body))
    if not found:
        raise invalid("does not match the body")
    if abs(now.timestamp() - int(signature.time)) > TOLERANCE_SECONDS:
        raise errors.unauthenticated(
            "WEBHOOK_EXPIRED", "the signature's time is more than five minutes away from ours"
        )
    return found


def sign(body: bytes, *, secret: str, now: datetime) -> str:
    """The header that a provider sends with ``body``."""
    time = str(int(now.timestamp()))
    return f"t={time},v1={_digest(time, secret, body).hex()}"


def invalid(why: str) -> errors.StatusError:
    """The refusal of a signature; it says no more than the sender knows."""
    return errors.unauthenticated("WEBHOOK_SIGNATURE_INVALID", f"the webhook's signature {why}")


def _read(header: str) -> Signature:
    times: list[str] = []
    digests: list[bytes] = []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t" and _TIME.fullmatch(value):
            times.append(value)
        elif name == "v1" and _DIGEST.fullmatch(value):
            digests.append(bytes.fromhex(value))
    if len(times) != 1 or not 1 <= len(digests) <= _MOST_CANDIDATES:
        raise invalid("is missing, or not of the form t=<unix seconds>,v1=<hex>")
    return Signature(times[0], tuple(digests))


def _matches(signature: Signature, secret: str, body: bytes) -> bool:
    expected = _digest(signature.time, secret, body)
    compared = [hmac.compare_digest(expected, offered) for offered in signature.digests]
    return any(compared)


def _digest(time: str, secret: str, body: bytes) -> bytes:
    return hmac.digest(secret.encode(), f"{time}.".encode() + body, hashlib.sha256)
