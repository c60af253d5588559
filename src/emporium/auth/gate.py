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
    """Checks passwords and counts the wrong ones, by email, whether or not it has an account.

    Somebody who guesses at many doors at once gets no more guesses than one by one: a right
    password counts only if, when it comes to the commit, the wrong ones are not too many.
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

        Raises TOO_MANY_ATTEMPTS, for either. True is not the end: ``passed`` has to agree.
        """
        with self._database.reading() as session:
            self._check(failures.read(session, model.email_digest(email)))
        known = None if account is None else account.password_hash
        if self._passwords.matches(password, known):
            return True
        now = self._clock.now()
        with self._database.unit_of_work() as session:
            failures.count(session, model.email_digest(email), now=now, until=now + self._memory)
        return False

    def passed(self, session: Connection, *, email: str) -> None:
        """Forget the wrong passwords before the right one, or raise TOO_MANY_ATTEMPTS."""
        digest = model.email_digest(email)
        before = failures.lock(session, digest)
        self._check(before)
        if before is not None:
            failures.forget(session, digest)

    def _check(self, found: model.Failures | None) -> None:
        model.check_unlocked(found, most=self._most, now=self._clock.now())
