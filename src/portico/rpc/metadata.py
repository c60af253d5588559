"""Metadata as gRPC allows it on the wire."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Metadatum(NamedTuple):
    """One pair, readable as a tuple or by name, as grpcio's own are."""

    key: str
    value: str | bytes


Metadata = Sequence[tuple[str, str | bytes]]

_KEY = re.compile(r"[0-9a-z_.\-]+")
_TEXT = re.compile(r"[\x20-\x7e]*")


def checked(metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """The pairs as a tuple; ValueError, as from grpcio, for a key or value that cannot travel."""
    pairs = named(metadata)
    for key, value in pairs:
        if not _valid(key, value):
            raise ValueError(f"metadata was invalid: {pairs}")
    return pairs


def named(metadata: Iterable[tuple[str, str | bytes]] | None) -> tuple[Metadatum, ...]:
    """The pairs as gRPC hands them to a receiver; empty for None."""
    return tuple(Metadatum(key, value) for key, value in metadata or ())


def first(metadata: Metadata, key: str) -> str:
    """The first value of ``key`` as text, or an empty string."""
    for name, value in metadata:
        if name == key:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return ""


def _valid(key: str, value: str | bytes) -> bool:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return False
    if key.endswith("-bin"):
        return isinstance(value, bytes)
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return isinstance(text, str) and _TEXT.fullmatch(text) is not None
