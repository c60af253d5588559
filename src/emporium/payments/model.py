"""What a payment is and how it may change: rules alone, no input or output, no clock.

Money is an integer of minor units, hundredths of its currency.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from portico import errors

if TYPE_CHECKING:
    from datetime import datetime

    from portico.context import Identity

ADMIN = "admin"
MINOR_PER_UNIT = 100


class Status(StrEnum):
    """Where a payment stands."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    VOIDED = "VOIDED"
    REFUNDED = "REFUNDED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"


MOVES = {
    Status.PENDING: {Status.SUCCEEDED, Status.FAILED, Status.VOIDED},
    Status.SUCCEEDED: {Status.REFUNDED, Status.PARTIALLY_REFUNDED},
    Status.PARTIALLY_REFUNDED: {Status.REFUNDED, Status.PARTIALLY_REFUNDED},
    Status.FAILED: set(),
    Status.VOIDED: set(),
    Status.REFUNDED: set(),
}
"""From each status the ones that may follow."""

_TAKEN = frozenset({Status.SUCCEEDED, Status.REFUNDED, Status.PARTIALLY_REFUNDED})
_NOT_TAKEN = frozenset({Status.FAILED, Status.VOIDED})


@dataclass(frozen=True, slots=True)
class Money:
    """``minor`` hundredths of a currency."""

    minor: int
    currency_code: str

    @property
    def units(self) -> Decimal:
        """The same amount in whole units, exactly."""
        return Decimal(self.minor).scaleb(-2)

    def __str__(self) -> str:
        return f"{self.units:f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Money taken, or to be taken, for one order.

    ``refunded`` is a part of ``amount``, in minor units.
    """

    payment_id: str
    order_id: str
    customer_id: str
    status: Status
    amount: Money
    refunded: int
    payment_method: str
    provider: str
    request_id: str
    created_at: datetime
    updated_at: datetime

    @property
    def left(self) -> int:
        """What can still be given back, in minor units; only of money that was taken."""
        return self.amount.minor - self.refunded

    def moved(self, to: Status, *, at: datetime) -> Payment:
        """The payment in another status. Raises ValueError where that must not follow."""
        if to not in MOVES[self.status]:
            raise ValueError(f"payment {self.payment_id} is {self.status} and cannot become {to}")
        # Two machines' clocks may differ: a payment is never changed before it was opened.
        return replace(self, status=to, updated_at=max(at, self.updated_at))

    def with_refund(self, minor: int, *, at: datetime) -> Payment:
        """The payment once ``minor`` more of it have gone back."""
        to = Status.REFUNDED if minor == self.left else Status.PARTIALLY_REFUNDED
        return replace(self.moved(to, at=at), refunded=self.refunded + minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money to give back."""

    request_id: str
    payment_id: str
    amount: Money


# What a provider says


class Outcome(StrEnum):
    """How a payment ended at the provider."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a provider says about a payment; ``amount`` in units of the charge's currency."""

    payment_id: str
    order_id: str
    amount: Decimal
    outcome: Outcome


def answer(payment: Payment, outcome: Outcome) -> News:
    """What a provider says that answers when it is asked: it cannot be about another amount."""
    return News(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        amount=payment.amount.units,
        outcome=outcome,
    )


class Verdict(Enum):
    """What is to be made of a provider's news."""

    BELIEVED = "the payment ends now"
    KNOWN = "it agrees with what holds"
    CONTRADICTED = "the payment has ended in another way"
    MISMATCHED = "it is about another amount"


def judge(payment: Payment, news: News) -> Verdict:
    """What ``news`` means for the payment it names."""
    if news.amount != payment.amount.units:
        return Verdict.MISMATCHED
    if payment.status is Status.PENDING:
        return Verdict.BELIEVED
    agreeing = _TAKEN if news.outcome is Outcome.SUCCESS else _NOT_TAKEN
    return Verdict.KNOWN if payment.status in agreeing else Verdict.CONTRADICTED


def ended(payment: Payment, outcome: Outcome, *, at: datetime) -> Payment:
    """A PENDING payment once the provider has answered."""
    return payment.moved(Status.SUCCEEDED if outcome is Outcome.SUCCESS else Status.FAILED, at=at)


# What callers may ask


def check_voidable(payment: Payment) -> None:
    """Refuse to give up a payment whose money has been taken. Raises PAYMENT_NOT_VOIDABLE."""
    if payment.status in _TAKEN:
        raise errors.failed_precondition(
            "PAYMENT_NOT_VOIDABLE",
            "this payment has been made; it can only be refunded",
            payment_id=payment.payment_id,
            status=payment.status,
        )


def check_refundable(payment: Payment, refund: Refund) -> None:
    """Refuse to give back what was not taken. Raises PAYMENT_NOT_REFUNDABLE or REFUND_TOO_LARGE."""
    currency_code = payment.amount.currency_code
    if payment.status not in _TAKEN or refund.amount.currency_code != currency_code:
        raise errors.failed_precondition(
            "PAYMENT_NOT_REFUNDABLE",
            f"this payment is {payment.status} in {currency_code}: there is nothing like that to give back",
            payment_id=payment.payment_id,
            status=payment.status,
            currency_code=refund.amount.currency_code,
        )
    if refund.amount.minor > payment.left:
        left = Money(payment.left, currency_code)
        raise errors.failed_precondition(
            "REFUND_TOO_LARGE",
            f"only {left} {currency_code} of this payment are left",
            payment_id=payment.payment_id,
            amount=refund.amount,
            left=left,
        )


def check_same_refund(found: Refund, wanted: Refund) -> None:
    """Refuse a request_id that comes again for something else. Raises REQUEST_ID_REUSED."""
    if found != wanted:
        raise request_id_reused(wanted.request_id)


def opened_before(wanted: Payment, rivals: list[Payment]) -> Payment:
    """The payment that the same request has opened already; ``rivals`` share its id or its request_id.

    Raises REQUEST_ID_REUSED when the request asked for something else, PAYMENT_VOIDED when the id
    was given up beforehand, PAYMENT_EXISTS when it is another request's.
    """
    for rival in rivals:
        if rival.request_id == wanted.request_id:
            if not _asks_the_same(wanted, rival):
                raise request_id_reused(wanted.request_id)
            return rival
    if any(is_blank(rival) for rival in rivals):
        raise errors.failed_precondition(
            "PAYMENT_VOIDED",
            "this payment was given up before it was opened",
            payment_id=wanted.payment_id,
        )
    raise errors.already_exists(
        "PAYMENT_EXISTS", "there is a payment with this id", payment_id=wanted.payment_id
    )


def is_blank(payment: Payment) -> bool:
    """Whether it was given up before it was opened: nothing is known of it but the id."""
    return payment.amount.minor == 0


def may_see(identity: Identity, customer_id: str) -> bool:
    """Customers may see what is theirs, an administrator everything."""
    return identity.subject == customer_id or ADMIN in identity.roles


# Refusals


def not_found(payment_id: str) -> errors.StatusError:
    """There is no such payment, or not for the caller."""
    return errors.not_found("PAYMENT_NOT_FOUND", "there is no such payment", payment_id=payment_id)


def customer_mismatch(customer_id: str) -> errors.StatusError:
    """The caller asked for somebody else."""
    return errors.permission_denied(
        "CUSTOMER_MISMATCH", "you may ask this for yourself only", customer_id=customer_id
    )


def method_not_found(payment_method: str) -> errors.StatusError:
    """No provider knows it."""
    return errors.not_found(
        "PAYMENT_METHOD_NOT_FOUND",
        f"there is no payment method {payment_method}",
        payment_method=payment_method,
    )


def amount_mismatched(payment: Payment, amount: Decimal) -> errors.StatusError:
    """A provider spoke of another amount."""
    return errors.aborted(
        "AMOUNT_MISMATCHED",
        "the amount differs from the charge; this was recorded and nothing else was changed",
        payment_id=payment.payment_id,
        amount=payment.amount,
        received_amount=written(amount),
    )


def written(amount: Decimal) -> str:
    """An amount with at least two decimals, and no more than it needs: 149.9 is 149.90."""
    whole, _, decimals = f"{amount:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"


def request_id_reused(request_id: str) -> errors.StatusError:
    """The request_id came before with other content."""
    return errors.already_exists(
        "REQUEST_ID_REUSED",
        "this request_id (REST: Idempotency-Key) was used for something else; take a new one",
        request_id=request_id,
    )


def _asks_the_same(wanted: Payment, found: Payment) -> bool:
    def content(payment: Payment) -> tuple[object, ...]:
        whom = payment.payment_id, payment.order_id, payment.customer_id
        return *whom, payment.amount, payment.payment_method

    return content(wanted) == content(found)
