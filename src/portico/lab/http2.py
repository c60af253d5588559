"""The little of HTTP/2 that a load generator needs: frames, and headers that are sent again and again.

Source of the format: RFC 9113 (HTTP/2) and RFC 7541 (HPACK).
"""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
FRAME_HEADER = 9
_STATIC_ENTRIES = 61
FIRST_WINDOW = 65535
LARGEST_WINDOW = 2**31 - 1


def message(content: bytes) -> bytes:
    """A gRPC message: not compressed, its length, itself."""
    return struct.pack(">BI", 0, len(content)) + content


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def frame_header(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Size of the payload, kind, flags and stream of the frame whose header is at ``at``."""
    high, low, kind, flags, stream = struct.unpack_from(">BHBBI", data, at)
    return (high << 16) | low, kind, flags, stream


def literals(fields: tuple[tuple[str, str], ...]) -> bytes:
    """The fields in full, for the server to remember: the first comes to lie deepest in its table."""
    return b"".join(b"\x40" + _text(name) + _text(value) for name, value in fields)


def indexes(count: int) -> bytes:
    """The same fields, each by its place in the server's table."""
    return b"".join(bytes([0x80 | (_STATIC_ENTRIES + place)]) for place in range(count, 0, -1))


def _text(text: str) -> bytes:
    return _number(len(text)) + text.encode("ascii")


def _number(number: int) -> bytes:
    """An integer with a prefix of seven bits."""
    most = 0x7F
    if number < most:
        return bytes([number])
    rest, out = number - most, bytearray([most])
    while rest > most:
        out.append(0x80 | (rest & most))
        rest >>= 7
    return bytes([*out, rest])
