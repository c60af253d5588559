"""Access tokens: JSON Web Tokens signed with Ed25519 (RFC 7519, RFC 8037)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING

import jwt

from portico import errors
from portico.context import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from portico.clock import Clock

ALGORITHM = "EdDSA"
_REFETCH_SECONDS = 10
_REQUIRED = ["exp", "iat", "iss", "sub"]


class TokenSigner:
    """Makes access tokens. ``key_id`` tells verifiers which public key to use."""

    def __init__(
        self, *, key: Ed25519PrivateKey, key_id: str, issuer: str, lifetime_seconds: int, clock: Clock
    ) -> None:
        self._key = key
        self._headers = {"kid": key_id}
        self._issuer = issuer
        self._clock = clock
        self.lifetime_seconds = lifetime_seconds

    def sign(self, identity: Identity) -> str:
        """A token for ``identity`` that expires after ``lifetime_seconds``."""
        now = self._clock.now()
        claims = {
            "iss": self._issuer,
            "sub": identity.subject,
            "roles": sorted(identity.roles),
            "iat": now,
            "exp": now + timedelta(seconds=self.lifetime_seconds),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers=self._headers)


class TokenAuthenticator:
    """Turns ``Bearer`` tokens into identities.

    ``keys`` fetches the public keys by key id; it is asked again, at most every ten seconds, when a
    token names a key that is not known yet. A verified token is remembered until it expires, since
    the signature costs far more than the rest of a call; ``remembered`` bounds how many.
    """

    def __init__(
        self,
        *,
        keys: Callable[[], Mapping[str, Ed25519PublicKey]],
        issuer: str,
        clock: Clock,
        remembered: int = 10_000,
    ) -> None:
        self._fetch = keys
        self._issuer = issuer
        self._clock = clock
        self._remembered = remembered
        self._keys: Mapping[str, Ed25519PublicKey] = {}
        self._fetched_at: datetime | None = None
        self._verified: OrderedDict[str, tuple[Identity, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, authorization: str) -> Identity:
        """The identity behind an ``authorization`` header; UNAUTHENTICATED when there is none."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise errors.unauthenticated("TOKEN_INVALID", "send the access token as: Bearer <token>")
        known = self._verified.get(token)
        if known is not None and self._clock.now().timestamp() < known[1]:
            return known[0]
        identity, expires = self._verify(token)
        with self._lock:
            self._verified[token] = identity, expires
            while len(self._verified) > self._remembered:
                self._verified.popitem(last=False)
        return identity

    def _verify(self, token: str) -> tuple[Identity, float]:
        try:
            claims = jwt.decode(
                token,
                self._key_of(token),
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                # The clock that decides about expiry is ours, so that tests can move it.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            raise errors.unauthenticated("TOKEN_INVALID", "the access token is not valid") from None
        expires = float(claims["exp"])
        if expires <= self._clock.now().timestamp():
            raise errors.unauthenticated("TOKEN_EXPIRED", "the access token has expired; refresh it")
        return Identity(str(claims["sub"]), frozenset(claims.get("roles", ()))), expires

    def _key_of(self, token: str) -> Ed25519PublicKey:
        key_id = str(jwt.get_unverified_header(token).get("kid", ""))
        if key_id not in self._keys:
            self._refetch()
        try:
            return self._keys[key_id]
        except KeyError:
            raise jwt.InvalidTokenError("unknown key") from None

    def _refetch(self) -> None:
        with self._lock:
            now = self._clock.now()
            recent = self._fetched_at is not None and now - self._fetched_at < timedelta(seconds=_REFETCH_SECONDS)
            if recent and self._keys:
                return
            self._keys = self._fetch()
            self._fetched_at = now
