"""Trace ids, and the ``traceparent`` header that carries them (W3C Trace Context, level 1)."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_SAMPLED = 1


class TraceParent(NamedTuple):
    """Where in which trace a call comes from; ``str`` of it is the header's value."""

    trace_id: str
    """32 lower-case hex digits, never all zero."""
    span_id: str
    """16 of them: the span of the caller, the parent of the next one."""
    sampled: bool

    @classmethod
    def parse(cls, header: str) -> TraceParent | None:
        """Read a header. None when it is malformed: the standard says to begin a new trace then."""
        match = _TRACEPARENT.fullmatch(header)
        if match is None:
            return None
        version, trace_id, span_id, flags, rest = match.groups()
        if trace_id == _NO_TRACE or span_id == _NO_SPAN:
            return None
        # A later version may append fields; version 00 may not, and ff is forbidden.
        if version == "ff" or (version == "00" and rest):
            return None
        return cls(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


# Ids need to be distinct, not secret. CPython seeds the default generator anew in a forked child,
# so processes that share an ancestor draw different ids.


def new_trace_id(*, random_bits: Callable[[int], int] = random.getrandbits) -> str:
    """32 hex digits; ``random_bits(n)`` draws an integer of n bits."""
    return f"{random_bits(128) or 1:032x}"


def new_span_id(*, random_bits: Callable[[int], int] = random.getrandbits) -> str:
    """16 hex digits; ``random_bits(n)`` draws an integer of n bits."""
    return f"{random_bits(64) or 1:016x}"
