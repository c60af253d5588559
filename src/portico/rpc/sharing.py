"""A port that several processes serve at the same time, and that one of them can leave without a failed call."""

from __future__ import annotations

from dataclasses import dataclass

# A connection's age is off by a tenth either way, and its last call needs a moment.
_AGE_OF_LINGERING = 0.7


@dataclass(frozen=True, kw_only=True)
class PortSharing:
    """How a server shares its port with others (``SO_REUSEPORT``).

    ``members`` are those that get new connections from now on, see ``steer``; empty is all of them.
    A server that leaves goes on answering for ``linger_seconds`` while others get the new connections.
    By then its own must be gone: gRPC can tell a client to connect anew without breaking a call only
    when a connection is old. So while ports are shared connections do not get older than that.
    """

    members: tuple[int, ...] = ()
    linger_seconds: float = 0.0

    @property
    def connection_age_seconds(self) -> float | None:
        """The age at which a connection is asked to be made anew; None when nothing depends on it."""
        return self.linger_seconds * _AGE_OF_LINGERING or None
