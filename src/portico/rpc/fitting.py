"""Errors cut to what every gRPC client accepts.

A client refuses a call whose trailers are larger than 8 KiB, and then nobody learns what was wrong.
The message travels twice there, once with three bytes for each that is not plain ASCII, and the rest
as base64. It is cut on every channel, so that a caller reads the same near and far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import StatusError, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

_MESSAGE_BYTES = 800
_FACTS_BYTES = 800
_VIOLATIONS_BYTES = 2000
_BYTES_AROUND_EACH = 8


def fitting(error: StatusError) -> StatusError:
    """``error`` itself, its message, facts and violations shortened where they are too long."""
    error.message = _text(error.message, _MESSAGE_BYTES)
    if error.metadata:
        error.metadata = _facts(error.metadata)
    if error.violations:
        error.violations = _violations(error.violations)
    return error


def _text(text: str, most: int) -> str:
    """As much of ``text`` as takes ``most`` bytes of UTF-8; halves of surrogate pairs become ``?``."""
    if len(text) <= most and text.isascii():
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return data.decode()
    return data[: most - len("…".encode())].decode(errors="ignore") + "…"


def _facts(facts: dict[str, str]) -> dict[str, str]:
    each = _FACTS_BYTES // len(facts)
    if all(len(value) <= each and value.isascii() for value in facts.values()):
        return facts
    return {key: _text(value, each) for key, value in facts.items()}


def _violations(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    left = _VIOLATIONS_BYTES
    kept: list[Violation] = []
    for violation in violations:
        cut = Violation(*(_text(part, _VIOLATIONS_BYTES // 8) for part in violation))
        left -= sum(len(part.encode()) for part in cut) + _BYTES_AROUND_EACH
        if left < 0:
            kept.append(Violation("", f"and {len(violations) - len(kept)} more"))
            break
        kept.append(cut)
    return tuple(kept)
