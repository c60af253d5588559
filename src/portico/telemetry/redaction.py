"""What a log line may not carry: secrets and personal data, by key and by shape."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from uuid import UUID

REDACTED = "[redacted]"

_SECRET_KEY = re.compile(
    r"passw|secret|token|authorization|cookie|credential|signature|api_?key|private_?key|dsn|database_?url", re.IGNORECASE
)
_PERSONAL_KEYS = frozenset(
    {
        "birthday", "card_number", "customer_name", "display_name", "email", "email_address", "first_name", "full_name",
        "iban", "last_name", "phone", "phone_number", "postal_address", "street_address",
    }
)  # fmt: skip

# A password in an address, credentials in a header, a signed token: exception texts carry them.
_SECRET_SHAPES = re.compile(
    r"(?P<scheme>://[^/\s:@]*):[^/\s@]+(?=@)"
    r"|(?P<kind>\b(?:Bearer|Basic)\s+)[\w.~+/=-]+"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*",
    re.IGNORECASE,
)

_MAX_TEXT = 8192
_MAX_ITEMS = 100
_MAX_DEPTH = 6
_PLAIN = (bool, int, float, type(None))
_PRINTED = (date, timedelta, Decimal, UUID, PurePath)


def scrubbed(value: object, *, depth: int = 0) -> object:
    """`value` as plain data that is safe to log.

    Values under a telling key are replaced; so are secrets recognised inside a text. Texts end after
    8,192 characters, collections after 100 items. Of any other object only its type is shown: a
    message or a model may hold anything.
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, _PLAIN):
        return value
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return scrubbed_fields(value, depth=depth + 1)
    if isinstance(value, list | tuple | set | frozenset):
        items = [scrubbed(item, depth=depth + 1) for item in list(value)[:_MAX_ITEMS]]
        return [*items, "…"] if len(value) > _MAX_ITEMS else items
    if isinstance(value, _PRINTED):
        return str(value)
    if isinstance(value, BaseException):
        return _text(f"{type(value).__name__}: {value}")
    return f"<{type(value).__qualname__}>"


def scrubbed_fields(fields: dict[object, object], *, depth: int = 0) -> dict[str, object]:
    """The same for the fields of a line."""
    return {
        str(key): REDACTED if value and _is_telling(str(key)) else scrubbed(value, depth=depth)
        for key, value in list(fields.items())[:_MAX_ITEMS]
    }


@lru_cache(maxsize=1024)
def _is_telling(key: str) -> bool:
    return key.lower() in _PERSONAL_KEYS or _SECRET_KEY.search(key) is not None


def _text(text: str) -> str:
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "…"
    return _SECRET_SHAPES.sub(_without_secret, text)


def _without_secret(match: re.Match[str]) -> str:
    if match["scheme"] is not None:
        return f"{match['scheme']}:{REDACTED}"
    return f"{match['kind'] or ''}{REDACTED}"
