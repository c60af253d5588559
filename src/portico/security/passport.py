"""Passports: which module calls another process, for which user, inside which workflow step.

A passport is a line of text that travels in a call's metadata, signed with a secret that the processes
of one topology share (HMAC-SHA256, RFC 2104). It is for one service and for a short time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote

from portico import errors
from portico.context import ANONYMOUS, Identity, StepMark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.clock import Clock
    from portico.context import Call

    Key = TypeVar("Key")
    Found = TypeVar("Found")

PASSPORT_KEY = "x-portico-passport"
"""The metadata key that a passport travels under."""

LEAST_SECRET_BYTES = 16

_VERSION = "1"
_MAX_CHARACTERS = 8192
_FIELDS = 9
_PLAIN = re.compile(r"[A-Za-z0-9_.~:/@-]*")


@dataclass(frozen=True, slots=True)
class Passport:
    """What a good passport says.

    ``caller`` is the module that calls, ``identity`` the end user it calls for, ``step`` the mark of
    the workflow step it calls in, if it is in one.
    """

    caller: str
    identity: Identity
    step: StepMark | None


class Passports:
    """Issues and reads the passports of one topology.

    ``secret`` is the same in all its processes; ValueError when it is shorter than
    ``LEAST_SECRET_BYTES``. A passport is good for ``lifetime_seconds`` by the clock of whoever reads
    it: clocks that differ by more refuse each other's calls.

    Those outside any workflow step are remembered on both sides, ``remembered`` of them, and sent
    again for a third of their lifetime; every call in a step gets its own.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        clock: Clock,
        lifetime_seconds: int = 30,
        remembered: int = 10_000,
    ) -> None:
        if len(secret) < LEAST_SECRET_BYTES:
            raise ValueError(
                f"the secret of passports has {len(secret)} bytes;"
                f" it needs {LEAST_SECRET_BYTES} at the least"
            )
        self._keyed = hmac.new(secret, digestmod=hashlib.sha256)
        self._clock = clock
        self._lifetime_seconds = lifetime_seconds
        self._remembered = remembered
        self._issued: dict[tuple[str, str, Identity], tuple[str, float]] = {}
        self._read: dict[tuple[str, str], tuple[Passport, float]] = {}

    def issue(self, caller: str, call: Call | None, audience: str, *, in_step: bool = True) -> str:
        """A passport for a call by module ``caller``, made inside ``call``, to service ``audience``.

        Without a ``call`` it is for nobody. ``in_step=False`` leaves the workflow step out, for what
        runs beside it.
        """
        identity = ANONYMOUS if call is None else call.origin.identity
        now = self._clock.now().timestamp()
        if call is not None and in_step and call.step is not None:
            return self._written(caller, audience, identity, call.step, now)
        key = caller, audience, identity
        known = self._issued.get(key)
        if known is not None and now < known[1]:
            return known[0]
        value = self._written(caller, audience, identity, None, now)
        self._remember(self._issued, key, (value, now + self._lifetime_seconds / 3))
        return value

    def read(self, value: str, audience: str) -> Passport:
        """What the passport says. UNAUTHENTICATED with PASSPORT_INVALID unless it is good, now and here."""
        now = self._clock.now().timestamp()
        known = self._read.get((value, audience))
        if known is not None and now < known[1]:
            return known[0]
        fields = self._fields(value)
        expires = int(fields[3])
        if _unquoted(fields[2]) != audience:
            raise _invalid(f"the call's passport is not for {audience}")
        if expires <= now:
            raise _invalid("the call's passport has expired, or the clocks of two processes differ")
        passport = _passport(fields)
        if passport.step is None:
            self._remember(self._read, (value, audience), (passport, expires))
        return passport

    def _fields(self, value: str) -> list[str]:
        """What is signed, piece by piece, once it is certain that it is."""
        signed, _, signature = value.rpartition(";")
        fields = signed.split(";")
        if (
            len(value) > _MAX_CHARACTERS
            or not value.isascii()
            or not hmac.compare_digest(self._sign(signed), signature)
            or len(fields) != _FIELDS
            or fields[0] != _VERSION
        ):
            raise _invalid("the call's passport is not one of this application")
        return fields

    def _written(
        self, caller: str, audience: str, identity: Identity, step: StepMark | None, now: float
    ) -> str:
        expires = int(now) + self._lifetime_seconds
        signed = _text(caller, audience, expires, identity, step)
        return f"{signed};{self._sign(signed)}"

    def _remember(self, known: dict[Key, Found], key: Key, found: Found) -> None:
        if len(known) >= self._remembered:
            known.clear()  # dearer for a moment, and cheaper always than keeping them in an order
        known[key] = found

    def _sign(self, text: str) -> str:
        keyed = self._keyed.copy()  # saves preparing the key each time
        keyed.update(text.encode())
        return keyed.hexdigest()


def _text(
    caller: str, audience: str, expires: int, identity: Identity, step: StepMark | None
) -> str:
    """All but the signature. What is quoted has none of the two separators in it."""
    mark = (step.module, step.key, "1" if step.trying else "0") if step else ("", "", "")
    roles = "".join([f"{_quoted(role)}," for role in identity.roles])
    return ";".join(
        (
            _VERSION,
            _quoted(caller),
            _quoted(audience),
            str(expires),
            _quoted(identity.subject),
            roles,
            _quoted(mark[0]),
            _quoted(mark[1]),
            mark[2],
        )
    )


def _passport(fields: Sequence[str]) -> Passport:
    _, caller, _, _, subject, roles, module, key, trying = fields
    identity = ANONYMOUS
    if subject or roles:
        named = [_unquoted(role) for role in roles.split(",")[:-1]]
        identity = Identity(_unquoted(subject), frozenset(named))
    step = StepMark(_unquoted(module), _unquoted(key), trying == "1") if trying else None
    return Passport(_unquoted(caller), identity, step)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):  # nearly always, and in a third of the time
        return text
    return quote(text, safe="", errors="surrogatepass")


def _unquoted(text: str) -> str:
    return unquote(text, errors="surrogatepass")


def _invalid(message: str) -> errors.StatusError:
    return errors.unauthenticated("PASSPORT_INVALID", message)
