"""Reactions: methods that a module runs when something has happened elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from portico.data import Database

    _Method = TypeVar("_Method", bound=Callable[..., None])

_MARK = "__portico_reacts_to__"


def reacts_to(event: type[Message], *, in_transaction: bool = True) -> Callable[[_Method], _Method]:
    """Mark a method as the reaction to ``event``.

    @reacts_to(PaymentSucceeded)
    def on_paid(self, event: PaymentSucceeded, session: Connection) -> None: ...

    ``session`` is in the transaction that also records the event as dealt with: what the method does
    there happens exactly once. When it raises, all of that is undone and the event comes again later.
    The names of the class and the method identify the consumer: renaming one makes it a new consumer.

    @reacts_to(PaymentRequested, in_transaction=False)
    def on_requested(self, event: PaymentRequested) -> None: ...

    is for what must not happen inside a transaction: a workflow, a call to a provider. The event is
    recorded after the method has returned, so it may come again, and the method must bear that.
    """

    def mark(method: _Method) -> _Method:
        setattr(method, _MARK, (event, in_transaction))
        return method

    return mark


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """One consumer of one kind of event."""

    consumer: str
    """``Class.method``, unique within the module; the inbox knows it by this."""
    event: type[Message]
    handle: Callable[..., None]
    """Takes the event, and the session if ``in_transaction``."""
    database: Database
    in_transaction: bool = True


def reactions_of(instance: object, *, database: Database) -> tuple[Reaction, ...]:
    """The marked methods of ``instance``, which belongs to the module of ``database``.

    A class without any is a mistake: ValueError.
    """
    kind = type(instance)
    found = tuple(
        Reaction(
            consumer=f"{kind.__name__}.{name}",
            event=event,
            handle=getattr(instance, name),
            database=database,
            in_transaction=in_transaction,
        )
        for name, (event, in_transaction) in marks_of(kind)
    )
    if not found:
        raise ValueError(
            f"{kind.__qualname__} is listed as reactions but has no method marked @reacts_to"
        )
    return found


def reacted_to(kind: type) -> tuple[str, ...]:
    """The full names of the events that a class of reactions reacts to, such as ``commerce.orders.v1.OrderPaid``."""
    return tuple(dict.fromkeys(event.DESCRIPTOR.full_name for _, (event, _) in marks_of(kind)))


def marks_of(kind: type) -> list[tuple[str, tuple[type[Message], bool]]]:
    """The names of a class's reactions, each with its event and whether it runs in a transaction."""
    found = ((name, getattr(getattr(kind, name, None), _MARK, None)) for name in sorted(dir(kind)))
    return [(name, mark) for name, mark in found if mark is not None]
