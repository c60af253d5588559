"""Ids of things: TypeIDs, a prefix that says what it is and a UUIDv7 that sorts by time of birth.

``ord_01kasx3q2ve0s8yv8zt3w4h5jk`` is the prefix ``ord`` and 26 characters of Crockford's base 32.
"""

from __future__ import annotations

import random as random_module
import re
import threading
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from random import Random

    from portico.clock import Clock

_PREFIX = re.compile(r"[a-z]([a-z_]{0,61}[a-z])?")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_TAIL_BITS = 74
_TAIL_LIMIT = 1 << _TAIL_BITS
_LOW_BITS = 62


class Ids:
    """Makes ids that rise: each one sorts after all that this object made before. Any thread may ask."""

    def __init__(self, *, clock: Clock, random: Random | None = None) -> None:
        """``random`` defaults to the system's entropy, which two processes never share."""
        self._clock = clock
        self._bits = (random or random_module.SystemRandom()).getrandbits
        self._lock = threading.Lock()
        self._millisecond = -1
        self._tail = 0

    def new(self, prefix: str) -> str:
        """A new id such as ``ord_01k…``.

        ``prefix`` is 1 to 63 lower-case letters and inner underscores; anything else is a ValueError.
        """
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(
                f"{prefix!r} cannot be the prefix of an id: lower-case letters, 63 at most"
            )
        return f"{prefix}_{encoded(self.uuid())}"

    def uuid(self) -> UUID:
        """A new UUIDv7: 48 bits of milliseconds since 1970, then 74 bits that rise within one of them."""
        millisecond, tail = self._next()
        high, low = tail >> _LOW_BITS, tail & ((1 << _LOW_BITS) - 1)
        return UUID(int=(millisecond << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)

    def _next(self) -> tuple[int, int]:
        millisecond = int(self._clock.now().timestamp() * 1000)
        with self._lock:
            if millisecond > self._millisecond:
                self._millisecond, self._tail = millisecond, self._bits(_TAIL_BITS)
                return millisecond, self._tail
            # The same millisecond, or a clock that was set back. The step is random, not one: a
            # forked child goes on from the same tail and must not draw the same ids.
            self._tail += 1 + self._bits(32)
            if self._tail >= _TAIL_LIMIT:
                self._millisecond, self._tail = self._millisecond + 1, self._bits(_TAIL_BITS)
            return self._millisecond, self._tail


def encoded(uuid: UUID) -> str:
    """The 26 characters of ``uuid`` in a TypeID."""
    number = uuid.int
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])
