"""Spans inside a call: a part of it that a trace shows by itself, such as a step of a workflow."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from portico.context import Call, current_or_none

if TYPE_CHECKING:
    from types import TracebackType

    from portico.telemetry.otel.span import Span

_NOTHING: AbstractContextManager[None] = nullcontext()


def part(name: str, **attributes: str | int) -> AbstractContextManager[None]:
    """A span called ``name`` around the block, below the one that the current call is in.

    What the call does in the block, its statements and the calls it makes, is below the new one.
    Where nobody traces, that is found out and nothing else.
    """
    call = current_or_none()
    above = nearest(call)
    if call is None or above is None:
        return _NOTHING
    return _Part(call, above, name, attributes)


def nearest(call: Call | None) -> Span | None:
    """The span that ``call`` is in at the moment: its own, or that of a call above it."""
    while call is not None:
        if call.span is not None:
            return call.span
        call = call.parent
    return None


class _Part(AbstractContextManager[None]):
    """The call's span is another one for the time of the block."""

    __slots__ = ("_above", "_attributes", "_before", "_call", "_name", "_span")

    def __init__(
        self, call: Call, above: Span, name: str, attributes: dict[str, str | int]
    ) -> None:
        self._call = call
        self._above = above
        self._name = name
        self._attributes = attributes

    def __enter__(self) -> None:
        self._before = self._call.span
        self._span = self._call.span = self._above.begin(self._name, attributes=self._attributes)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call.span = self._before
        self._span.end(error="" if kind is None else f"{kind.__name__}: {value}")
