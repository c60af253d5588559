"""Metadata as gRPC takes it from a sender and hands it to a receiver."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterable


class Metadatum(NamedTuple):
    """One pair, readable as a tuple or by name, as grpcio's own are."""

    key: str
    value: str | bytes


Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_KEY = re.compile(r"[0-9a-z_.\-]+")
_TEXT = re.compile(r"[\x20-\x7e]*")
_THE_TRANSPORTS_OWN = frozenset({"content-type", "te"})


def checked(metadata: Iterable[tuple[str, Any]]) -> Metadata:
    """The pairs as their receiver gets them.

    Raises, as grpcio does, INTERNAL for what cannot travel, TypeError and ValueError for what is
    not pairs of text and text (or bytes, where the key ends in ``-bin``).
    """
    pairs = named(metadata)
    for key, value in pairs:
        text = "" if key.endswith("-bin") else value
        if not (_KEY.fullmatch(key) and isinstance(text, str) and _TEXT.fullmatch(text)):
            raise _invalid()
    return tuple(pair for pair in pairs if pair.key not in _THE_TRANSPORTS_OWN)


def named(metadata: Iterable[tuple[str, Any]] | None) -> tuple[Metadatum, ...]:
    """The pairs by name, unchecked but for their types; empty for None."""
    return tuple(_metadatum(key, value) for key, value in metadata or ())


def first_of_each(metadata: Metadata) -> dict[str, str | bytes]:
    """The first value of every key: whoever adds a second one, on the way, must not outvote it."""
    return dict(reversed(metadata))


def _metadatum(key: str | bytes, value: str | bytes | None) -> Metadatum:
    name = key.decode("latin-1") if isinstance(key, bytes) else key
    if value is None:
        value = b"" if name.endswith("-bin") else ""
    if name.endswith("-bin"):
        if not isinstance(value, bytes):
            raise TypeError(f"the value of {name} must be bytes, not {type(value).__name__}")
    elif isinstance(value, bytes):
        value = value.decode("latin-1")
    elif not isinstance(value, str):
        raise TypeError(f"the value of {name} must be str or bytes, not {type(value).__name__}")
    return Metadatum(name, value)


def _invalid() -> grpc.RpcError:
    from portico.errors import StatusError  # which is made of metadata itself

    return StatusError(grpc.StatusCode.INTERNAL, "Invalid metadata")
