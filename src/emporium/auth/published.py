"""Accounts whose passwords everybody can read, and where they are let in."""

from __future__ import annotations

from typing import NamedTuple

from emporium.auth.model import Role


class PublishedAccount(NamedTuple):
    """Who can log in where the demonstration was asked for."""

    user_id: str
    email: str
    password: str
    display_name: str
    role: Role


# They outlive the demonstration in its database and are known by their user_id, which no sign-up
# gives to anybody. So none may ever leave this list: its account would be like any other.
ACCOUNTS = (
    PublishedAccount(
        "usr_8923a10f", "demo@example.com", "demo-password", "Demo Customer", Role.CUSTOMER
    ),
    PublishedAccount(
        "usr_admin", "admin@example.com", "admin-password", "Demo Administrator", Role.ADMIN
    ),
    PublishedAccount(
        "usr_business", "business@example.com", "business-password", "Demo Business", Role.BUSINESS
    ),
)
USER_IDS = frozenset(account.user_id for account in ACCOUNTS)


class PublishedAccounts:
    """Whether this process lets them in: from ``open`` on, which the demonstration alone calls.

    It is kept in memory on purpose. What the database remembers would hold for the next start too,
    and for a process without the demonstration that shares it.
    """

    def __init__(self) -> None:
        self.are_open = False

    def open(self) -> None:
        """Let them log in and refresh as others do."""
        self.are_open = True

    def keep_out(self, user_id: str) -> bool:
        """Whether the user is to be treated as nobody."""
        return not self.are_open and user_id in USER_IDS
