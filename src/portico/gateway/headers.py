"""What travels on from an HTTP request's headers to the call: metadata, request id, deadline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from portico.errors import invalid_argument
from portico.rpc import idempotency
from portico.telemetry.tracing import TraceParent

if TYPE_CHECKING:
    from portico.gateway.exchange import Headers

REQUEST_ID = "x-request-id"
TIMEOUT = "x-request-timeout"

# Headers of one hop (RFC 9110, 7.6.1), of the body, and those that mean nothing to a servicer.
_DROPPED = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect", "host"),
        *("cookie", "user-agent", "accept", "accept-charset", "accept-encoding"),
        *("accept-language", "range", "if-range", "priority", "dnt"),
    }
)
# gRPC's own, and the kernel's between its processes: a client may not speak in their name.
_DROPPED_PREFIXES = ("content-", "grpc-", "sec-", "portico-", "x-portico-", ":")
# A second one would leave it to the reader which counts: the first does.
_ONCE = frozenset({"authorization", "traceparent", REQUEST_ID, idempotency.KEY, TIMEOUT})

_KEY = re.compile(r"[0-9a-z_.\-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?")


def request_id_of(headers: Headers) -> str:
    """The client's ``X-Request-Id`` when it is 1 to 128 visible ASCII characters, else empty."""
    for key, value in headers:
        if key == REQUEST_ID:
            return value if _VISIBLE.fullmatch(value) else ""
    return ""


class HeadersTooLargeError(ValueError):
    """The headers are more than metadata may be."""


def to_metadata(headers: Headers, request_id: str, *, most_bytes: int) -> list[tuple[str, str]]:
    """The end-to-end headers as metadata, with the request id; ``HeadersTooLargeError``.

    What gRPC cannot carry is left out: names and values that are not ASCII, names ending in "-bin".
    """
    metadata = [(REQUEST_ID, request_id)]
    seen = {REQUEST_ID}
    hop = _named_by_connection(headers)
    size = 0
    for key, value in headers:
        if key in _DROPPED or key in hop or key.startswith(_DROPPED_PREFIXES):
            continue
        if key in _ONCE:
            if key in seen:
                continue
            seen.add(key)
        if key.endswith("-bin") or not (_KEY.fullmatch(key) and _VALUE.fullmatch(value)):
            continue
        if key == "traceparent" and TraceParent.parse(value) is None:
            continue
        size += len(key) + len(value) + 32  # as HTTP/2 counts them (RFC 9113, 6.5.2)
        metadata.append((key, value))
    if size > most_bytes:
        raise HeadersTooLargeError(f"headers may take {most_bytes} bytes")
    return metadata


def _named_by_connection(headers: Headers) -> frozenset[str]:
    for key, value in headers:
        if key == "connection" and value.lower() not in {"close", "keep-alive"}:
            return frozenset(name.strip() for name in value.lower().split(","))
    return frozenset()


def timeout_of(headers: Headers, *, default: float, most: float) -> float:
    """The call's time in seconds: ``X-Request-Timeout`` as a decimal number, at most ``most``."""
    for key, value in headers:
        if key == TIMEOUT:
            if not _SECONDS.fullmatch(value) or float(value) <= 0:
                raise invalid_argument(
                    "INVALID_TIMEOUT", "X-Request-Timeout must be seconds above 0, such as 2.5"
                )
            return min(float(value), most)
    return default


def name_request(message: Any, headers: Headers) -> None:
    """Let ``Idempotency-Key`` name the request; INVALID_ARGUMENT when it cannot."""
    key = next((value for name, value in headers if name == idempotency.KEY), None)
    if key is not None:
        idempotency.fill_request_id(message, key)
