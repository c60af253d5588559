"""Pieces of bytes one after the other, each with its length before it: no two lists of them are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LENGTH_BYTES = 4


def joined(pieces: Iterable[bytes]) -> bytes:
    """All of them. OverflowError when one has 4 GiB or more."""
    return b"".join([len(piece).to_bytes(_LENGTH_BYTES, "big") + piece for piece in pieces])


def first(text: bytes) -> tuple[bytes, bytes]:
    """The first piece, and what comes after it. ValueError when it is not all there."""
    begin = _LENGTH_BYTES
    end = begin + int.from_bytes(text[:begin], "big")
    if len(text) < begin or len(text) < end:
        raise ValueError(f"a piece of {max(end, begin)} bytes has only {len(text)}")
    return text[begin:end], text[end:]


def parted(text: bytes) -> list[bytes]:
    """What ``joined`` was given. ValueError when the last piece is not all there."""
    pieces = []
    while text:
        piece, text = first(text)
        pieces.append(piece)
    return pieces
