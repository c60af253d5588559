"""What a provider writes into a webhook: JSON, read strictly, with amounts as the decimals that were written."""

from __future__ import annotations

import json
import re
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emporium.payments.model import News, Outcome
from portico import errors
from portico.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_AMOUNT_LIMIT = Decimal(10**15)
_MOST_DIGITS = 40


def read(body: bytes) -> News:
    """The news in a body. Raises WEBHOOK_MALFORMED, naming every field that is missing or wrong.

    Fields that are not listed in the contract are passed over; a field that is there twice is not.
    """
    fields = _object(body)
    violations: list[Violation] = []

    def field(name: str, read_value: Callable[[Any], Any]) -> Any:
        try:
            return read_value(fields.get(name))
        except ValueError as wrong:
            violations.append(Violation(name, str(wrong)))
            return None

    payment_id = field("paymentId", _id)
    order_id = field("orderId", _id)
    amount = field("amount", _amount)
    outcome = field("status", _outcome)
    field("timestamp", _timestamp)
    if violations:
        raise _malformed(f"{violations[0].field}: {violations[0].description}", violations)
    return News(payment_id=payment_id, order_id=order_id, amount=amount, outcome=outcome)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            body.decode("utf-8"),
            parse_float=Decimal,
            parse_int=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_duplicates,
        )
    except (ValueError, ArithmeticError, RecursionError) as wrong:
        raise _malformed(f"the body is not JSON that can be trusted: {_why(wrong)}") from None
    if not isinstance(found, dict):
        raise _malformed("the body is not a JSON object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is there twice")
    return found


def _id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("must be a string of 1 to 64 letters, digits, _ or -")
    return value


def _amount(value: Any) -> Decimal:
    # Every number of the document is a Decimal: a string or true is none.
    if not isinstance(value, Decimal) or not 0 <= value < _AMOUNT_LIMIT:
        raise ValueError("must be a number, 0 or more and below 10^15")
    _, digits, exponent = value.as_tuple()
    if len(digits) > _MOST_DIGITS or abs(int(exponent)) > _MOST_DIGITS:
        raise ValueError(f"must have at most {_MOST_DIGITS} digits")
    return value


def _outcome(value: Any) -> Outcome:
    if not isinstance(value, str) or value not in Outcome.__members__:
        raise ValueError("must be SUCCESS or FAILED")
    return Outcome(value)


def _timestamp(value: Any) -> None:
    """Only looked at: the age of the message is taken from the signature."""
    if value is None:
        return
    try:
        if isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None:
            return
    except ValueError:
        pass
    raise ValueError("must be a time with a zone, as in RFC 3339")


def _malformed(message: str, violations: list[Violation] | None = None) -> errors.StatusError:
    return errors.invalid_argument("WEBHOOK_MALFORMED", message, violations=violations or ())


def _why(wrong: Exception) -> str:
    return "it is nested too deeply" if isinstance(wrong, RecursionError) else str(wrong)
