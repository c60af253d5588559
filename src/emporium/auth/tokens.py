"""Pairs of tokens: a signed one that is good for minutes, and a secret one to get the next pair with."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy import Connection

from emporium.auth import model
from emporium.auth.model import Account, TokenPair, Verdict
from emporium.auth.published import PublishedAccounts
from emporium.auth.settings import AuthSettings
from emporium.auth.signing import SigningKeys
from emporium.auth.store import families
from portico.clock import Clock
from portico.context import Identity
from portico.data import Database
from portico.ids import Ids
from portico.telemetry import logs

_SECRET_BYTES = 32
_log = logs.logger(__name__)


class Tokens:
    """Gives pairs, one family per log-in, and takes each refresh token once."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        ids: Ids,
        keys: SigningKeys,
        published: PublishedAccounts,
        settings: AuthSettings,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._keys = keys
        self._published = published
        self._lifetime = timedelta(seconds=settings.refresh_lifetime_seconds)

    def open_family(self, session: Connection, account: Account) -> TokenPair:
        """The first pair of a new family. Raises CREDENTIALS_INVALID when the account is gone."""
        now = self._clock.now()
        family_id = self._ids.new("fam")
        families.forget_expired(session, now=now)
        families.add(session, family_id, account.user_id, now=now, expires_at=now + self._lifetime)
        return self._next(session, family_id, account.user_id, account.roles, now)

    def refresh(self, refresh_token: str) -> TokenPair:
        """The next pair of the token's family, once.

        Raises REFRESH_TOKEN_INVALID, or REFRESH_TOKEN_REUSED after having revoked the family.
        """
        now = self._clock.now()
        with self._database.unit_of_work() as session:
            token = families.lock_token(session, model.token_digest(refresh_token))
            if token is not None and self._published.keep_out(token.user_id):
                token = None
            verdict = model.judge(token, now=now)
            if token is not None and verdict is Verdict.GOOD:
                families.spend(session, token, now=now, expires_at=now + self._lifetime)
                return self._next(session, token.family_id, token.user_id, token.roles, now)
            if token is not None and verdict is Verdict.REUSED:
                families.revoke(session, token.digest, now=now)
                _log.warning(
                    "a refresh token came twice", user_id=token.user_id, family_id=token.family_id
                )
        # Raised out here: inside, it would take the revocation back.
        if verdict is Verdict.REUSED:
            raise model.refresh_token_reused()
        raise model.refresh_token_invalid()

    def revoke(self, refresh_token: str) -> None:
        """End the token's family, if it has a living one."""
        with self._database.unit_of_work() as session:
            families.revoke(session, model.token_digest(refresh_token), now=self._clock.now())

    def _next(
        self,
        session: Connection,
        family_id: str,
        user_id: str,
        roles: tuple[str, ...],
        now: datetime,
    ) -> TokenPair:
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        families.add_token(session, model.token_digest(secret), family_id, now=now)
        signer = self._keys.signer()
        return TokenPair(
            user_id=user_id,
            access_token=signer.sign(Identity(user_id, frozenset(roles))),
            refresh_token=secret,
            expires_in=signer.lifetime_seconds,
        )
