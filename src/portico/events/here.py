"""The own process as a receiver of events: its own reactions, and the way on to those in others."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from portico.events.crew import lines_of
from portico.events.receiver import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.events.crew import Crew
    from portico.events.delivery import Delivery
    from portico.events.following import Following
    from portico.events.handing_on import HandingOn
    from portico.events.outbox import Record
    from portico.events.receiver import Proceed

_TAKE_BACK_SECONDS = 10.0


class Here:
    """Runs the reactions of this process, several at a time.

    Before that, events which modules in other processes react to are handed on: these get them at
    the same time, and wait for no reaction here.
    """

    def __init__(
        self,
        delivery: Delivery,
        *,
        crew: Crew,
        following: Following,
        handing_on: HandingOn,
        keep_house: Callable[[], None],
    ) -> None:
        """``keep_house`` is called now and then, and does a little."""
        self._delivery = delivery
        self._crew = crew
        self._following = following
        self._handing_on = handing_on
        self._keep_house = keep_house
        self._take_back_at = 0.0

    def deliver(self, records: Sequence[Record], *, proceed: Proceed) -> list[Outcome]:
        """See ``Receiver``."""
        # Also one that was tried before: it may have been where its reactions were all in this process.
        self._handing_on.hand_on(records)
        outcomes: list[Outcome] = []

        def react(record: Record) -> bool:
            setback = self._delivery.deliver(record)
            self._following.dealt_with(record.headers["request_id"], record.id)
            if setback is None:
                outcomes.append(Outcome(record))
            else:
                outcomes.append(Outcome(record, setback.words, postponed=setback.is_under_way))
            if not proceed():
                enough.set()
            return setback is None and not enough.is_set()

        enough = threading.Event()
        self._crew.run(lines_of(records), lambda record: not enough.is_set() and react(record))
        return outcomes

    def prepare(self) -> None:
        """See ``Receiver``. The topology may have changed, and old processes may still run."""
        if time.monotonic() >= self._take_back_at:
            self._handing_on.take_back()
            self._take_back_at = time.monotonic() + _TAKE_BACK_SECONDS
        self._keep_house()

    def missed(self) -> None:
        """See ``Receiver``; this process can always be reached."""

    def interrupt(self) -> None:
        """See ``Receiver``; a reaction that runs is waited for."""
