"""Access tokens: JSON Web Tokens signed with Ed25519 (RFC 7519, RFC 8037)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt

from portico import errors
from portico.context import Identity
from portico.security.keys import KeyRing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    from portico.clock import Clock
    from portico.security.keys import Fetch

ALGORITHM = "EdDSA"
_REQUIRED = ["exp", "iat", "iss", "sub"]
_MAX_CHARACTERS = 4096
_REMEMBERED_SECONDS = 300
"""Then a token is verified again, so that it does not outlive a withdrawn key for long."""


class TokenSigner:
    """Makes access tokens. ``key_id`` tells verifiers which public key to use."""

    def __init__(
        self,
        *,
        key: Ed25519PrivateKey,
        key_id: str,
        issuer: str,
        lifetime_seconds: int,
        clock: Clock,
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

    ``keys`` fetches the issuer's public keys by key id (see ``KeyRing`` for when). A verified token
    is remembered, for five minutes at most, since the signature costs far more than the rest of a
    call; ``remembered`` bounds how many.
    """

    def __init__(self, *, keys: Fetch, issuer: str, clock: Clock, remembered: int = 10_000) -> None:
        self._keys = KeyRing(fetch=keys, clock=clock)
        self._issuer = issuer
        self._clock = clock
        self._remembered = remembered
        self._verified: OrderedDict[str, tuple[Identity, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, authorization: str) -> Identity:
        """The identity behind an ``authorization`` header.

        Raises UNAUTHENTICATED with TOKEN_INVALID or TOKEN_EXPIRED, and what ``keys`` raises.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise errors.unauthenticated(
                "TOKEN_INVALID", "send the access token as: Bearer <token>"
            )
        now = self._clock.now().timestamp()
        known = self._verified.get(token)
        if known is not None and now < known[1]:
            return known[0]
        identity, expires = self._verify(token)
        if expires <= now:
            raise errors.unauthenticated(
                "TOKEN_EXPIRED", "the access token has expired; refresh it"
            )
        self._remember(token, identity, min(expires, now + _REMEMBERED_SECONDS))
        return identity

    def _remember(self, token: str, identity: Identity, until: float) -> None:
        with self._lock:
            self._verified[token] = identity, until
            self._verified.move_to_end(token)
            while len(self._verified) > self._remembered:
                self._verified.popitem(last=False)

    def _verify(self, token: str) -> tuple[Identity, float]:
        """The identity in a token whose signature is good, and when it expires."""
        claims = self._claims(token) if len(token) <= _MAX_CHARACTERS else None
        if claims is None:
            raise errors.unauthenticated("TOKEN_INVALID", "the access token is not valid")
        return Identity(claims["sub"], frozenset(claims.get("roles", ()))), float(claims["exp"])

    def _claims(self, token: str) -> dict[str, Any] | None:
        try:
            key = self._key_of(token)
            if key is None:
                return None
            return jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                # The clock that decides about expiry is ours, so that tests can move it.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, RecursionError):  # the latter: a header of nothing but brackets
            return None

    def _key_of(self, token: str) -> Ed25519PublicKey | None:
        return self._keys.find(str(jwt.get_unverified_header(token).get("kid", "")))
