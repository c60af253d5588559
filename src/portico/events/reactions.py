"""Reactions: methods that a module runs when something has happened elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message
    from sqlalchemy import Connection

    from portico.data import Database

    Handler = Callable[[Any, Any, Connection], None]
    _Method = TypeVar("_Method", bound=Handler)

_MARK = "__portico_reacts_to__"


def reacts_to(event: type[Message]) -> Callable[[_Method], _Method]:
    """Mark a method as the reaction to ``event``.

    @reacts_to(PaymentSucceeded)
    def on_paid(self, event: PaymentSucceeded, session: Connection) -> None: ...

    ``session`` is in the transaction that also records the event as dealt with: what the method does
    there happens exactly once. When it raises, all of that is undone and the event comes again later.
    The names of the class and the method identify the consumer: renaming one makes it a new consumer.
    """

    def mark(method: _Method) -> _Method:
        setattr(method, _MARK, event)
        return method

    return mark


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """One consumer of one kind of event."""

    consumer: str
    """``Class.method``, unique within the module; the inbox knows it by this."""
    event: type[Message]
    handle: Callable[[Any, Connection], None]
    database: Database


def reactions_of(instance: object, *, database: Database) -> tuple[Reaction, ...]:
    """The marked methods of ``instance``, which belongs to the module of ``database``.

    A class without any is a mistake: ValueError.
    """
    kind = type(instance)
    found = tuple(
        Reaction(
            consumer=f"{kind.__name__}.{name}",
            event=getattr(getattr(kind, name), _MARK),
            handle=getattr(instance, name),
            database=database,
        )
        for name in sorted(dir(kind))
        if hasattr(getattr(kind, name, None), _MARK)
    )
    if not found:
        raise ValueError(
            f"{kind.__qualname__} is listed as reactions but has no method marked @reacts_to"
        )
    return found
