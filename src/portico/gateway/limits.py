"""What one client may ask of the gateway."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A ceiling on everything that a client chooses. Sizes are in bytes, times in seconds."""

    body_bytes: int = 1024**2
    """A larger body is answered with 413."""
    head_bytes: int = 32 * 1024
    """Request line and headers together; more is answered with 431."""
    target_bytes: int = 8 * 1024
    """Path and query; more is answered with 414."""
    headers: int = 100
    """Header lines; more are answered with 431."""
    metadata_bytes: int = 8 * 1024
    """Headers that travel on as metadata; gRPC servers refuse more. Answered with 431."""
    parameters: int = 100
    """Query parameters; more are answered with 400."""

    head_seconds: float = 10.0
    """From the first byte of a request to the end of its headers."""
    body_seconds: float = 15.0
    """From the end of the headers to the end of the body; later is answered with 408."""
    idle_seconds: float = 30.0
    """A connection without a request is closed after this."""
    send_seconds: float = 30.0
    """The longest that a chunk of a stream waits for a client that does not read."""

    default_timeout_seconds: float = 10.0
    """The deadline of a call whose client names none."""
    timeout_seconds: float = 60.0
    """The longest deadline that a client may name for a call."""
    stream_seconds: float = 600.0
    """The deadline of a streamed answer, and the longest that a client may name for one."""

    connections: int = 1024
    """Open connections; further ones are answered with 503."""
    waiting: int = 256
    """Requests that wait for a thread; further ones are answered with 503."""
    waiting_seconds: float = 2.0
    """While requests keep waiting, one that would wait longer for a thread is answered with 503."""
    streams: int = 64
    """Streamed answers at once; further ones are answered with 503."""
