"""A port that several processes serve at the same time, and that one of them can leave without a failed call."""

from __future__ import annotations

from dataclasses import dataclass

# A connection's age is off by a tenth either way, and its last call needs a moment.
_AGE_OF_LINGERING = 0.7


@dataclass(frozen=True, kw_only=True)
class PortSharing:
    """How a server shares its port with others (``SO_REUSEPORT``).

    A server that leaves goes on answering for ``linger_seconds`` while others get the new connections
    (``portico.rpc.steering``). By then its own must be gone, and gRPC asks a client to connect anew
    without breaking a call only when a connection is old: a server that stops breaks the calls that
    come while the client is being told. So connections do not get older than that.
    """

    linger_seconds: float = 0.0

    @property
    def connection_age_seconds(self) -> float | None:
        """The age at which a connection is asked to be made anew; None when nothing depends on it."""
        return self.linger_seconds * _AGE_OF_LINGERING or None
