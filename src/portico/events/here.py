"""The own process as a receiver of events: its own reactions, and the way on to those in others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from portico.events.receiver import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from portico.events.delivery import Delivery
    from portico.events.following import Following
    from portico.events.handing_on import HandingOn
    from portico.events.outbox import Record
    from portico.events.receiver import Proceed

_TAKE_BACK_SECONDS = 10.0


class Here:
    """Runs the reactions of this process, one after the other.

    Before that, events which modules in other processes react to are handed on: these get them at
    the same time, and wait for no reaction here.
    """

    def __init__(self, delivery: Delivery, *, following: Following, handing_on: HandingOn) -> None:
        self._delivery = delivery
        self._following = following
        self._handing_on = handing_on
        self._take_back_at = 0.0

    def deliver(self, records: Sequence[Record], *, proceed: Proceed) -> Iterator[Outcome]:
        """See ``Receiver``."""
        # Also one that was tried before: it may have been where its reactions were all in this process.
        self._handing_on.hand_on(records)
        held: set[tuple[str, ...]] = set()
        for record in records:
            if record.line in held:
                continue
            failure = self._delivery.deliver(record)
            self._following.dealt_with(record.headers["request_id"], record.id)
            if failure is not None:
                held.add(record.line)
            yield Outcome(record, failure)
            if not proceed():
                return

    def prepare(self) -> None:
        """See ``Receiver``. The topology may have changed, and old processes may still run."""
        if time.monotonic() >= self._take_back_at:
            self._handing_on.take_back()
            self._take_back_at = time.monotonic() + _TAKE_BACK_SECONDS

    def missed(self) -> None:
        """See ``Receiver``; this process can always be reached."""

    def interrupt(self) -> None:
        """See ``Receiver``; a reaction that runs is waited for."""
