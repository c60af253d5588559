"""What a scrape is told about the queue in front of a listener's threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from portico.telemetry.metrics import Metrics


class Queue(Protocol):
    """Work that waits for threads."""

    @property
    def waiting(self) -> int:
        """How much waits now."""

    @property
    def refused(self) -> int:
        """How much was refused, so far."""


def measure_queue(queue: Queue, metrics: Metrics, *, listener: str) -> None:
    """Let ``metrics`` tell of the calls that wait, and of those that were refused."""
    metrics.gauge(
        "portico_waiting_calls",
        "Calls that wait for a thread.",
        lambda: queue.waiting,
        listener=listener,
    )
    metrics.counter(
        "portico_shed_calls",
        "Calls refused because they would have waited too long.",
        lambda: queue.refused,
        listener=listener,
    )
