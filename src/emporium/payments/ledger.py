"""The double entry of payments: what each change of a payment posts, in minor units of its currency.

Three accounts: what customers owe (``CUSTOMER``), what the provider has for us (``PROVIDER``), what we
have sold (``SALES``, negative as income is). The postings of one payment always add up to zero. So at
any time CUSTOMER is what is outstanding, and PROVIDER is what was taken and not given back.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Entry(StrEnum):
    """What happened."""

    CHARGED = "CHARGED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    VOIDED = "VOIDED"
    REFUNDED = "REFUNDED"


class Account(StrEnum):
    """Where money is, or who owes it."""

    CUSTOMER = "CUSTOMER"
    PROVIDER = "PROVIDER"
    SALES = "SALES"


class Posting(NamedTuple):
    """A change of one account; never zero."""

    account: Account
    minor: int


_FROM_TO = {
    Entry.CHARGED: (Account.SALES, Account.CUSTOMER),
    Entry.SUCCEEDED: (Account.CUSTOMER, Account.PROVIDER),
    Entry.FAILED: (Account.CUSTOMER, Account.SALES),
    Entry.VOIDED: (Account.CUSTOMER, Account.SALES),
    Entry.REFUNDED: (Account.PROVIDER, Account.SALES),
}


def postings(entry: Entry, minor: int) -> tuple[Posting, Posting]:
    """The two postings of an entry about ``minor`` hundredths, above zero. Their sum is zero."""
    if minor <= 0:
        raise ValueError(f"an entry is about something, not about {minor}")
    source, target = _FROM_TO[entry]
    return Posting(source, -minor), Posting(target, minor)
