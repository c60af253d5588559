"""The key that signs access tokens, and those that may have signed one that is still good."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from emporium.auth.settings import AuthSettings
from emporium.auth.store import signing_keys
from emporium.auth.store.signing_keys import SigningKey
from portico.clock import Clock
from portico.data import Database
from portico.security.keys import thumbprint
from portico.security.tokens import TokenSigner

_READ_AGAIN = timedelta(minutes=1)


class SigningKeys:
    """Keys in the database, one of them active; made here when there is none.

    Every program that shares the database signs with the same key, and with its successor a minute
    after ``rotate`` at the latest.
    """

    def __init__(self, *, database: Database, clock: Clock, settings: AuthSettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._signer, self._read_again_at = self._read()

    def signer(self) -> TokenSigner:
        """Signs with the active key."""
        if self._clock.now() >= self._read_again_at:
            self._signer, self._read_again_at = self._read()
        return self._signer

    def public(self) -> dict[str, Ed25519PublicKey]:
        """By key id, newest first, every key with which a token may be signed that is still good."""
        longest = timedelta(seconds=self._settings.access_lifetime_seconds) + _READ_AGAIN
        with self._database.reading() as session:
            keys = signing_keys.since(session, retired_after=self._clock.now() - longest)
        return {key.key_id: Ed25519PublicKey.from_public_bytes(key.public_key) for key in keys}

    def rotate(self) -> None:
        """Put a new key in the place of the active one."""
        with self._database.unit_of_work() as session:
            signing_keys.retire_active(session, now=self._clock.now())
            signing_keys.add(session, self._new())
        self._signer, self._read_again_at = self._read()

    def _read(self) -> tuple[TokenSigner, datetime]:
        with self._database.reading() as session:
            key = signing_keys.active(session)
        if key is None:
            key = self._make()
        signer = TokenSigner(
            key=Ed25519PrivateKey.from_private_bytes(key.private_key),
            key_id=key.key_id,
            issuer=self._settings.issuer,
            lifetime_seconds=self._settings.access_lifetime_seconds,
            clock=self._clock,
        )
        return signer, self._clock.now() + _READ_AGAIN

    def _make(self) -> SigningKey:
        """The first key; of two programs that start at once, both get the one that was first."""
        new = self._new()
        with self._database.unit_of_work() as session:
            signing_keys.add(session, new)
            return signing_keys.active(session) or new

    def _new(self) -> SigningKey:
        private = Ed25519PrivateKey.generate()
        public = private.public_key()
        return SigningKey(
            key_id=thumbprint(public),
            private_key=private.private_bytes_raw(),
            public_key=public.public_bytes_raw(),
            created_at=self._clock.now(),
        )
