"""Another process as a receiver of events."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from portico.errors import StatusError
from portico.events.receiver import Outcome, UnreachableError
from portico.events.wire import event_of
from portico.v1 import events_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from portico.events.following import Following
    from portico.events.neighbour import Neighbour
    from portico.events.outbox import Record
    from portico.events.receiver import Proceed

_log = logging.getLogger(__name__)

_State = pb.DeliverResponse.State

_MOST_BYTES = 1024 * 1024  # of the events that go together; one that is larger goes alone
_LARGEST_BYTES = 3 * 1024 * 1024  # of one event: it must fit into a message, of 4 MB by default


class There:
    """Hands events to a neighbour, some at a time, and waits each time until its reactions have run.

    A failure on the way says nothing about the events, and costs none of them an attempt. What is refused
    as not this process's to send waits, as long as that is so, and holds up no other aggregate.
    """

    def __init__(
        self, neighbour: Neighbour, *, following: Following, timeout_seconds: float
    ) -> None:
        """``timeout_seconds`` is the longest wait for one answer."""
        self._neighbour = neighbour
        self._following = following
        self._timeout_seconds = timeout_seconds
        self._refused: set[tuple[str, str]] = set()

    def deliver(self, records: Sequence[Record], *, proceed: Proceed) -> Iterator[Outcome]:
        """See ``Receiver``; goes there once at most."""
        sent: list[Record] = []
        size = 0
        for record in records:
            size += len(record.payload)
            if sent and size > _MOST_BYTES:
                break
            if not self._is_wanted(record):  # any more: so it has reached everybody
                yield self._ended(Outcome(record))
            elif len(record.payload) > _LARGEST_BYTES:
                why = f"{len(record.payload)} bytes are too many to send, {_LARGEST_BYTES} at most"
                yield self._ended(Outcome(record, why))
                break
            else:
                sent.append(record)
        if sent:
            yield from self._send(sent)

    def prepare(self) -> None:
        """See ``Receiver``."""

    def missed(self) -> None:
        """Nobody shall wait for what cannot arrive at the moment."""
        self._following.give_up(self._neighbour.reacts)

    def interrupt(self) -> None:
        """See ``Receiver``."""
        self._neighbour.carrier.interrupt()

    def _is_wanted(self, record: Record) -> bool:
        return record.type in self._neighbour.reacts.get(record.module, ())

    def _send(self, records: Sequence[Record]) -> Iterator[Outcome]:
        follows = [self._following.is_followed(record.headers["request_id"]) for record in records]
        request = pb.DeliverRequest(
            events=[
                event_of(record, follow=follow)
                for record, follow in zip(records, follows, strict=True)
            ]
        )
        try:
            answers = self._ask(request).outcomes
        except StatusError as refusal:
            yield from self._refusal(records, refusal)
            return
        if len(answers) != len(records):
            raise UnreachableError(f"{self._neighbour.process} answered for other events")
        for record, answer in zip(records, answers, strict=True):
            outcome = _outcome(record, answer)
            if outcome is not None:
                yield self._ended(outcome, goes_on=answer.goes_on)

    def _refusal(self, records: Sequence[Record], refusal: StatusError) -> Iterator[Outcome]:
        """Put aside what a call was refused for; nothing of it was tried."""
        facts = refusal.metadata
        what = facts.get("module", ""), facts.get("type", "")
        if what not in self._refused:
            self._refused.add(what)
            _log.error("%s refuses events, and they wait: %s", self._neighbour.process, refusal)
        for record in records:
            if (record.aggregate_type, record.type) == what:
                yield self._ended(Outcome(record, postponed=True))

    def _ask(self, request: pb.DeliverRequest) -> pb.DeliverResponse:
        try:
            return self._neighbour.carrier.carry(request, seconds=self._timeout_seconds)
        except UnreachableError:
            self.missed()
            raise

    def _ended(self, outcome: Outcome, *, goes_on: bool = False) -> Outcome:
        record = outcome.record
        self._following.dealt_with(
            record.headers["request_id"],
            record.id,
            module=record.module,
            goes_on_in=self._neighbour.process if goes_on else "",
        )
        return outcome


def _outcome(record: Record, answer: pb.DeliverResponse.Outcome) -> Outcome | None:
    """None for an event that was not tried and stays as it is."""
    if answer.state == _State.DONE:
        return Outcome(record)
    if answer.state == _State.FAILED:
        return Outcome(record, answer.error or "it failed")
    if answer.state in (_State.BUSY, _State.NOT_HERE):
        return Outcome(record, answer.error or None, postponed=True)
    return None
