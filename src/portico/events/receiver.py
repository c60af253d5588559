"""Where events go: the reactions of this process, or another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from portico.events.outbox import Record

    Proceed = Callable[[], bool]


class UnreachableError(Exception):
    """The receiver cannot be reached, which says nothing about any event; the message says why."""


class Outcome(NamedTuple):
    """What became of one event that was handed to a receiver."""

    record: Record
    failure: str | None = None
    """In words; None when it has arrived."""
    postponed: bool = False
    """It costs no attempt: it was not tried and should rest for a moment, or with ``failure`` for longer."""


class Receiver(Protocol):
    """Where the events of a lane go."""

    def deliver(self, records: Sequence[Record], *, proceed: Proceed) -> Iterable[Outcome]:
        """Hand over some events, in this order; what is not answered for was not tried.

        ``proceed`` is asked after each whether to begin another. Raises UnreachableError when nothing
        can be handed over at the moment.
        """

    def prepare(self) -> None:
        """The lane is about to look into its queues; called often."""

    def missed(self) -> None:
        """There is something to deliver, and the receiver could not be reached a moment ago."""

    def interrupt(self) -> None:
        """The lane is about to stop: end a wait that may be long. Called again and again."""
