"""JSON text, read strictly: what is ambiguous is refused, not guessed at."""

from __future__ import annotations

import json
from typing import NoReturn

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


class DocumentError(ValueError):
    """The text is not one JSON value; the message says where it stops being one."""


def read(text: bytes) -> JsonValue:
    """Parse UTF-8 JSON. ``DocumentError`` also for a name given twice and for NaN.

    A number beyond the range of a double becomes an infinite one, which no field takes.
    """
    try:
        value: JsonValue = _decode(text.decode())
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"{error.msg[:1].lower()}{error.msg[1:]} at {where}") from None
    except RecursionError:
        raise DocumentError("nested too deeply") from None
    except DocumentError:
        raise
    except ValueError:  # Python's own ceiling on the digits of an integer
        raise DocumentError("a number is too long") from None
    return value


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DocumentError(f"{printable(twice)} is given twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise DocumentError(f"{name} is not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant).decode

_MOST_ECHOED = 100


def printable(text: str) -> str:
    """What a client sent, short and fit to be sent back."""
    short = text if len(text) <= _MOST_ECHOED else text[:_MOST_ECHOED] + "…"
    return short.encode("utf-8", "backslashreplace").decode()
