"""Accounts to try things with. Their passwords are published: never in production."""

from __future__ import annotations

from emporium.auth.model import SignUp
from emporium.auth.passwords import Passwords
from emporium.auth.published import ACCOUNTS, PublishedAccount, PublishedAccounts
from emporium.auth.store import accounts
from emporium.auth.workflows import SignUpWorkflow
from portico.data import Database


class Demonstration:
    """Signs the demonstration accounts up, as anybody else is, and lets them in."""

    def __init__(
        self,
        *,
        database: Database,
        passwords: Passwords,
        sign_up: SignUpWorkflow,
        published: PublishedAccounts,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sign_up = sign_up
        self._published = published

    def load(self) -> None:
        """Make the accounts that are not there, leave those that are as they are, open them all."""
        with self._database.reading() as session:
            known = accounts.known(session, [account.user_id for account in ACCOUNTS])
        for account in ACCOUNTS:
            if account.user_id not in known:
                self._sign_up.run(self._of(account))
        self._published.open()

    def _of(self, account: PublishedAccount) -> SignUp:
        return SignUp(
            user_id=account.user_id,
            email=account.email,
            display_name=account.display_name,
            password_hash=self._passwords.hash(account.password),
            roles=[account.role.value],
        )
