"""Hashes of passwords: argon2id, slow on purpose."""

from __future__ import annotations

import secrets
import threading
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from pwdlib.hashers.argon2 import Argon2Hasher

from emporium.auth import model
from emporium.auth.settings import AuthSettings
from portico.context import current
from portico.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SALT_BYTES = 16
_HASH_BYTES = 32


class Passwords:
    """Makes and checks hashes, so many at a time as the settings allow: each takes its memory.

    A few calls more wait for their turn, each on a thread of a server, and those that have no time
    left raise DEADLINE_EXCEEDED. Any further one raises TOO_BUSY at once, whatever it is about.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._argon2 = Argon2Hasher(
            time_cost=settings.argon2_passes,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_lanes,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
        )
        self._turns = threading.BoundedSemaphore(settings.concurrent_hashes)
        self._places = threading.BoundedSemaphore(
            settings.concurrent_hashes + settings.waiting_hashes
        )
        self._nobodys = _hash_of_nothing(settings)

    def hash(self, password: str) -> str:
        """A new hash, with its salt and cost written in it."""
        with self.turn():
            return self._argon2.hash(password)

    def matches(self, password: str, known: str | None) -> bool:
        """Whether ``known`` is a hash of the password; the caller has a ``turn``.

        None stands for an account that does not exist: False, after the same work as for one that does.
        """
        return self._argon2.verify(password, self._nobodys if known is None else known)

    def improved(self, password: str, known: str) -> str | None:
        """A hash to replace ``known``, made with another cost than the settings ask for; else None.

        None also when there is no turn for it: the next log-in will do.
        """
        if not self._argon2.check_needs_rehash(known):
            return None
        try:
            return self.hash(password)
        except StatusError:
            return None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Time to check one password. It is apart from the check for those who count their guesses."""
        if not self._places.acquire(blocking=False):
            raise model.too_busy()
        try:
            if not self._turns.acquire(timeout=current().time_remaining()):
                raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()


def _hash_of_nothing(settings: AuthSettings) -> str:
    """Looks like a hash made at today's cost, but is one of no password: its digest is random."""
    cost = f"m={settings.argon2_memory_kib},t={settings.argon2_passes},p={settings.argon2_lanes}"
    return f"$argon2id$v=19${cost}${_random(_SALT_BYTES)}${_random(_HASH_BYTES)}"


def _random(size: int) -> str:
    return b64encode(secrets.token_bytes(size)).decode().rstrip("=")
