"""Public signing keys: JSON Web Keys (RFC 7517) of one kind, Ed25519 (RFC 8037)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from portico.errors import StatusError
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from portico.clock import Clock

    Fetch = Callable[[], Mapping[str, Ed25519PublicKey]]

KEY_TYPE = "OKP"
CURVE = "Ed25519"
_X = re.compile(r"[A-Za-z0-9_-]{43}")

_MAX_AGE = timedelta(minutes=5)
_LEAST_AGE = timedelta(seconds=10)
_log = logs.logger(__name__)


class Jwk(Protocol):
    """One member of a key set, in the standard's names. A protobuf message with these fields is one."""

    @property
    def kty(self) -> str:
        """Key type."""
        ...

    @property
    def crv(self) -> str:
        """Curve."""
        ...

    @property
    def x(self) -> str:
        """The public key, base64url without padding."""
        ...

    @property
    def kid(self) -> str:
        """Key id."""
        ...


def public_keys(jwks: Iterable[Jwk]) -> dict[str, Ed25519PublicKey]:
    """The Ed25519 keys of a key set, by key id.

    Keys of other kinds are passed over (RFC 7517, section 5). Raises ValueError for an Ed25519 key
    whose ``x`` is not 32 bytes in base64url.
    """
    return {
        jwk.kid: Ed25519PublicKey.from_public_bytes(_decoded(jwk.x))
        for jwk in jwks
        if (jwk.kty, jwk.crv) == (KEY_TYPE, CURVE)
    }


def encoded(key: Ed25519PublicKey) -> str:
    """The ``x`` of the key's JSON Web Key."""
    return _base64url(key.public_bytes_raw())


def thumbprint(key: Ed25519PublicKey) -> str:
    """A key id that follows from the key alone (RFC 7638, RFC 8037 appendix A.3): 43 characters."""
    members = {"crv": CURVE, "kty": KEY_TYPE, "x": encoded(key)}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(canonical.encode()).digest())


class KeyRing:
    """An issuer's public keys, fetched when they are first needed and kept.

    ``fetch`` is asked again when a key is named that is not known, at most every ten seconds, and
    when the keys are five minutes old, so that a withdrawn one is forgotten. Any thread may ask.
    """

    def __init__(self, *, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, Ed25519PublicKey] = {}
        self._fetched_at: datetime | None = None
        self._lock = threading.Lock()

    def find(self, key_id: str) -> Ed25519PublicKey | None:
        """The key, or None when the issuer has none of that id.

        Raises what ``fetch`` raises, unless the key was known before: a while without the issuer
        makes nobody's token invalid.
        """
        if not self._fresh_enough(key_id):
            with self._lock:
                if not self._fresh_enough(key_id):
                    self._refetch(key_id)
        return self._keys.get(key_id)

    def _fresh_enough(self, key_id: str) -> bool:
        if self._fetched_at is None:
            return False
        age = self._clock.now() - self._fetched_at
        return age < (_MAX_AGE if key_id in self._keys else _LEAST_AGE)

    def _refetch(self, key_id: str) -> None:
        try:
            self._keys = self._fetch()
        except StatusError as failure:
            if key_id not in self._keys:
                raise
            _log.warning("signing keys could not be fetched; the ones known stay", failure=failure)
        self._fetched_at = self._clock.now()


def _decoded(text: str) -> bytes:
    if not _X.fullmatch(text):
        raise ValueError(f"the x of an {CURVE} key is 43 characters of base64url, for 32 bytes")
    return base64.urlsafe_b64decode(text + "=")


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
