"""What a log line may not carry: secrets and personal data, by key and by shape."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

REDACTED = "[redacted]"

_SECRET_KEY = re.compile(
    r"passw|secret|token|authorization|cookie|credential|signature|api_?key|private_?key|dsn|database_?url",
    re.IGNORECASE,
)
_PERSONAL_KEYS = frozenset(
    {
        "birthday", "card_number", "customer_name", "display_name", "email", "email_address", "first_name", "full_name",
        "iban", "last_name", "phone", "phone_number", "postal_address", "street_address",
    }
)  # fmt: skip

# A password in an address, credentials in a header, a signed token, and the row that Postgres spells out
# when it breaks a constraint: exception texts carry them.
_SECRET_SHAPES = re.compile(
    r"(?P<scheme>://[^/\s:@]*):[^/\s@]+(?=@)"
    r"|(?P<kind>\b(?:Bearer|Basic)\s+)[\w.~+/=-]+"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|(?P<detail>\nDETAIL:)(?s:.*?)(?=\n(?:HINT:|CONTEXT:|\[SQL:)|\Z)",
    re.IGNORECASE,
)

_MAX_TEXT = 8192
_MAX_ITEMS = 100
_MAX_DEPTH = 6
_INTEGER_BITS = 64  # what readers of JSON lines can be trusted with
_SPELLED = (str, Enum, BaseException, date, timedelta, Decimal, UUID, PurePath)


def scrubbed(value: object, *, depth: int = 0) -> object:
    """``value`` as plain data that is safe to log.

    Values under a telling key are replaced; so are secrets recognised inside a text. Texts end after
    8,192 characters, collections after 100 items. Of any other object only its type is shown: a
    message or a model may hold anything.
    """
    if isinstance(value, _SPELLED):
        return _text(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < _INTEGER_BITS else str(value)
    if isinstance(value, dict | list | tuple | set | frozenset) and depth < _MAX_DEPTH:
        return _collection(value, depth + 1)
    return f"<{type(value).__qualname__}>"


def scrubbed_fields(fields: Mapping[str, object], *, depth: int = 0) -> dict[str, object]:
    """The same for the fields of a line."""
    return {
        _text(key): REDACTED if value and _is_telling(str(key)) else scrubbed(value, depth=depth)
        for key, value in islice(fields.items(), _MAX_ITEMS)
    }


@lru_cache(maxsize=1024)
def _is_telling(key: str) -> bool:
    return key.lower() in _PERSONAL_KEYS or _SECRET_KEY.search(key) is not None


def _collection(value: Collection[object], depth: int) -> object:
    if isinstance(value, dict):
        return scrubbed_fields(value, depth=depth)
    items = [scrubbed(item, depth=depth) for item in islice(value, _MAX_ITEMS)]
    return [*items, "…"] if len(value) > _MAX_ITEMS else items


def _text(value: object) -> str:
    text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "…"
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    return _SECRET_SHAPES.sub(_without_secret, text)


def _without_secret(match: re.Match[str]) -> str:
    if match["scheme"] is not None:
        return f"{match['scheme']}:{REDACTED}"
    if match["detail"] is not None:
        return f"{match['detail']}  {REDACTED}"
    return f"{match['kind'] or ''}{REDACTED}"
