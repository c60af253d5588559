"""Whether a password opens an account, and what happens after too many that did not."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection

from emporium.auth import model
from emporium.auth.passwords import Passwords
from emporium.auth.settings import AuthSettings
from emporium.auth.store import failures
from portico.clock import Clock
from portico.data import Database


class Gate:
    """Checks passwords and counts the attempts, by email, whether or not it has an account.

    An attempt is counted before the password is looked at, and forgotten with those before it when
    it was right. So guesses at the same moment are no more than guesses one by one, and one that is
    refused tells nothing, since nobody looked at it.
    """

    def __init__(
        self, *, database: Database, clock: Clock, passwords: Passwords, settings: AuthSettings
    ) -> None:
        self._database = database
        self._clock = clock
        self._passwords = passwords
        self._most = settings.lockout_failures
        self._memory = timedelta(seconds=settings.lockout_seconds)

    def opens(self, account: model.Account | None, *, email: str, password: str) -> bool:
        """Whether the password is the account's; None, for no account, is as much work and False.

        Raises TOO_MANY_ATTEMPTS or TOO_BUSY, for either, without having looked at the password.
        Whoever is let in has ``passed``; until that is said the attempt counts as a wrong one.
        """
        digest = model.email_digest(email)
        known = None if account is None else account.password_hash
        self._refuse_locked(digest)
        with self._passwords.turn():  # first, so that who is too many here has not used up a guess
            self._count(digest)
            return self._passwords.matches(password, known)

    def passed(self, session: Connection, *, email: str) -> None:
        """Forget this attempt and all before it: the password was right."""
        failures.forget(session, model.email_digest(email))

    def _refuse_locked(self, digest: bytes) -> None:
        """Send away, before they stand in line, those of whom it is known already."""
        with self._database.reading() as session:
            before = failures.read(session, digest)
        model.check_unlocked(before, most=self._most, now=self._clock.now())

    def _count(self, digest: bytes) -> None:
        now = self._clock.now()
        with self._database.unit_of_work() as session:
            before = failures.count(session, digest, now=now, until=now + self._memory)
            # Raised in here, it takes the count back.
            model.check_unlocked(before, most=self._most, now=now)
