"""Handing one event to everyone who reacts to it."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from functools import partial
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from portico.context import Call, entered
from portico.errors import StatusError
from portico.events import inbox
from portico.events.claim import claiming
from portico.events.publisher import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection

    from portico.clock import Clock
    from portico.events.outbox import Record
    from portico.events.reactions import Reaction
    from portico.telemetry.otel.tracer import Tracer

_log = logging.getLogger(__name__)

_LONGEST_ERROR = 1000
_GOES_ON = "WORKFLOW_RUNNING"  # the workflow will end, whether or not its event is tried again


class Setback(NamedTuple):
    """Why an event has not had all its effects."""

    words: str
    is_under_way: bool
    """What it set going still runs: no failure, and worth another look later."""


class _UnderWayError(Exception):
    """The same reaction runs elsewhere, for somebody who has given up waiting or died."""


class Delivery:
    """The reactions of this process, by what they react to."""

    def __init__(
        self,
        reactions: Iterable[Reaction],
        *,
        clock: Clock,
        timeout_seconds: float,
        tracer: Tracer | None = None,
    ) -> None:
        """Two reactions of one module with the same name are a ValueError."""
        self._reactions = _by_type(reactions)
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._tracer = tracer

    def reacts(self, module: str, event_type: str) -> bool:
        """Whether a module of this process reacts to such events."""
        reactions = self._reactions.get(event_type, ())
        return any(reaction.database.schema == module for reaction in reactions)

    def deliver(self, record: Record, *, until: float = inf) -> Setback | None:
        """Hand one event to all who react to it; the first setback ends it for this time.

        All of the module that it is for, if it is for one. ``until`` is when they have to be done at
        the latest, in seconds of ``time.monotonic()``.
        """
        for reaction in self._reactions.get(record.type, ()):
            if record.module not in ("", reaction.database.schema):
                continue
            setback = self._told(reaction, record, partial(self._react, reaction, record, until))
            if setback is not None:
                return setback
        return None

    @property
    def consumers(self) -> dict[str, Reaction]:
        """All reactions of this process, by ``module.Class.method``."""
        found = [each for reactions in self._reactions.values() for each in reactions]
        return {_name(each): each for each in found}

    def reacted_to_by(self, consumer: str) -> str:
        """The type of event that ``consumer`` reacts to; KeyError when nobody here is called that."""
        return str(self.consumers[consumer].event.DESCRIPTOR.full_name)

    def deliver_again(self, record: Record, consumer: str) -> str | None:
        """Hand an event to one consumer alone, even if it had it before; the failure in words."""
        reaction = self.consumers[consumer]
        setback = self._told(reaction, record, partial(self._react_again, reaction, record))
        return None if setback is None else setback.words

    def _react_again(self, reaction: Reaction, record: Record) -> None:
        with self._call(reaction, record, inf), reaction.database.unit_of_work() as session:
            module, name = reaction.database.schema, reaction.consumer
            inbox.forget(session, module, event_id=record.id, consumer=name)
            if reaction.in_transaction:
                self._react_inside(reaction, record)
        if not reaction.in_transaction:
            self._react(reaction, record, inf)

    def _told(
        self, reaction: Reaction, record: Record, react: Callable[[], None]
    ) -> Setback | None:
        name = _name(reaction)
        try:
            react()
        except _UnderWayError as error:
            return Setback(f"{name}: {error}", is_under_way=True)
        except Exception as error:  # noqa: BLE001  # a reaction may raise anything
            words = f"{name}: {type(error).__name__}: {error}"[:_LONGEST_ERROR]
            if isinstance(error, StatusError) and error.reason == _GOES_ON:
                _log.info("%s goes on for %s %s", name, record.type, record.id)
                return Setback(words, is_under_way=True)
            _log.warning("%s failed on %s %s", name, record.type, record.id, exc_info=True)
            return Setback(words, is_under_way=False)
        return None

    def _react(self, reaction: Reaction, record: Record, until: float) -> None:
        with self._call(reaction, record, until):
            if reaction.in_transaction:
                self._react_inside(reaction, record)
            else:
                self._react_outside(reaction, record)

    @contextmanager
    def _call(self, reaction: Reaction, record: Record, until: float) -> Iterator[None]:
        module = reaction.database.schema
        deadline = min(time.monotonic() + self._timeout_seconds, until)
        method = f"{module}.{reaction.consumer}"
        call = Call(
            None, origin_of(record.headers), method, module, record.aggregate_type, deadline, ()
        )
        with entered(call), self._span(call, record):
            yield

    def _span(self, call: Call, record: Record) -> AbstractContextManager[None]:
        if self._tracer is None:
            return nullcontext()
        attributes: dict[str, str | int] = {
            "messaging.system": "portico",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.type,
            "messaging.message.id": str(record.id),
        }
        sampled = bool(record.headers.get("sampled", True))
        return self._tracer.reaction(call, attributes, sampled=sampled)

    def _react_inside(self, reaction: Reaction, record: Record) -> None:
        with reaction.database.unit_of_work() as session:
            if self._note(reaction, record, session):
                reaction.handle(reaction.event.FromString(record.payload), session)

    def _react_outside(self, reaction: Reaction, record: Record) -> None:
        """Alone for its aggregate, in whichever process: no transaction of its effect would make another wait."""
        database = reaction.database
        consumer, module = reaction.consumer, database.schema
        with claiming(database) as lock:
            if not inbox.lock(lock, module, aggregate=record.line[1:]):
                raise _UnderWayError("an earlier delivery still runs")
            with database.reading() as session:
                if inbox.has(session, module, event_id=record.id, consumer=consumer):
                    return
            reaction.handle(reaction.event.FromString(record.payload))
            with database.unit_of_work() as session:
                self._note(reaction, record, session)

    def _note(self, reaction: Reaction, record: Record, session: Connection) -> bool:
        return inbox.received(
            session,
            reaction.database.schema,
            event_id=record.id,
            consumer=reaction.consumer,
            at=self._clock.now(),
        )


def _name(reaction: Reaction) -> str:
    return f"{reaction.database.schema}.{reaction.consumer}"


def _by_type(reactions: Iterable[Reaction]) -> dict[str, list[Reaction]]:
    found: dict[str, list[Reaction]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for reaction in reactions:
        name = reaction.database.schema, reaction.consumer
        if name in seen:
            raise ValueError(f"module {name[0]} has two reactions called {name[1]}")
        seen.add(name)
        found[reaction.event.DESCRIPTOR.full_name].append(reaction)
    return dict(found)
