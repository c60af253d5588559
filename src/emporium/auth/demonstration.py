"""Accounts to try things with. Their passwords are published: never in production."""

from __future__ import annotations

from typing import NamedTuple

from emporium.auth.model import Role, SignUp
from emporium.auth.passwords import Passwords
from emporium.auth.store import accounts
from emporium.auth.workflows import SignUpWorkflow
from portico.data import Database


class DemonstrationAccount(NamedTuple):
    """Who can log in where the demonstration was asked for."""

    user_id: str
    email: str
    password: str
    display_name: str
    role: Role


ACCOUNTS = (
    DemonstrationAccount(
        "usr_8923a10f", "demo@example.com", "demo-password", "Demo Customer", Role.CUSTOMER
    ),
    DemonstrationAccount(
        "usr_admin", "admin@example.com", "admin-password", "Demo Administrator", Role.ADMIN
    ),
    DemonstrationAccount(
        "usr_business", "business@example.com", "business-password", "Demo Business", Role.BUSINESS
    ),
)


class Demonstration:
    """Signs the demonstration accounts up, as anybody else is."""

    def __init__(
        self, *, database: Database, passwords: Passwords, sign_up: SignUpWorkflow
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sign_up = sign_up

    def load(self) -> None:
        """Make the accounts that are not there; leave those that are as they are."""
        with self._database.reading() as session:
            known = accounts.known(session, [account.user_id for account in ACCOUNTS])
        for account in ACCOUNTS:
            if account.user_id not in known:
                self._sign_up.run(self._of(account))

    def _of(self, account: DemonstrationAccount) -> SignUp:
        return SignUp(
            user_id=account.user_id,
            email=account.email,
            display_name=account.display_name,
            password_hash=self._passwords.hash(account.password),
            roles=[account.role.value],
        )
