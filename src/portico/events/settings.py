"""How a relay works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RelaySettings:
    """How a relay works; the defaults suit a server."""

    poll_seconds: float = 1.0
    """How often it looks by itself: for retries that are due, and for what nobody told it of."""
    batch_seconds: float = 1.0
    """After so long a batch ends with the event at hand; the rest of it is for anyone to take."""
    reactions_at_once: int = 4
    """Of different aggregates, in this process; each takes a connection."""
    aggregates_per_batch: int = 100
    events_per_aggregate: int = 100
    events_per_call: int = 100
    """In one call to another process."""
    reaction_timeout_seconds: float = 10.0
    max_attempts: int = 12
    """Then an event is dead: kept, logged, and passed over. With the delays below after about half an hour."""
    first_delay_seconds: float = 1.0
    longest_delay_seconds: float = 300.0
    first_pause_seconds: float = 0.1
    """Before the next call to a process that could not be reached; twice as long each time."""
    longest_pause_seconds: float = 2.0
    keep_events_seconds: float = 7 * 24 * 3600.0
    """After so long an event that has reached everybody is removed from its outbox."""
    keep_notes_seconds: float = 60 * 24 * 3600.0
    """And what an inbox knows of an event; not before the event itself."""
    housekeeping_seconds: float = 3600.0
    """So long it rests when nothing is left to remove."""

    def __post_init__(self) -> None:
        """ValueError when an event could come again that an inbox has forgotten."""
        if self.keep_notes_seconds < self.keep_events_seconds:
            raise ValueError("inboxes must remember events for as long as outboxes keep them")
