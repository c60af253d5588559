"""Streams of responses: all of them, in order, to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.greeting import (
    NOT_LOOKED_AT,
    OWN_WORDS,
    PATIENCE_SECONDS,
    greeter,
    read,
    repeat,
)
from tests.placement.streaming import POPULATE

if TYPE_CHECKING:
    from portico.testing.cases import Script
    from portico.testing.transports import Stand

responses = Group(name="streams of responses", populate=POPULATE, stay=True)
GROUPS = [responses]


def _reading(name: str, times: int) -> Script:
    return lambda stand: read(greeter(stand).Repeat(repeat(name, times), timeout=PATIENCE_SECONDS))


responses.add("none", _reading("count", 0), expects={"messages": [], "call.code": "OK"})
responses.add("one", _reading("count", 1), expects={"messages[0]": "0"})
responses.add("fifty in order", _reading("count", 50), expects={"messages[49]": "49"})
responses.add("an iterator that is no generator", _reading("list", 0))
responses.add("empty ones and a big one", _reading("empty", 0))
responses.add(
    "a None is the end, as in grpcio",
    _reading("none", 0),
    expects={"messages[0]": "before", "call.code": "OK"},
)
responses.add(
    "what is no message fails the call",
    _reading("wrong", 0),
    expects={"messages[0]": "before", "call.code": "INTERNAL"},
    without=OWN_WORDS | NOT_LOOKED_AT,
)


@responses.case(expects={"": ["0", "1", "end", "end"]})
def are_iterated_by_next_too_and_stay_at_their_end(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("count", 2), timeout=PATIENCE_SECONDS)
    return [next(call).message, next(call).message, next(call, "end"), next(call, "end")]


@responses.case(without=OWN_WORDS | NOT_LOOKED_AT)
def that_failed_fail_again_when_asked_again(stand: Stand) -> Any:
    call = greeter(stand).Repeat(repeat("wrong"), timeout=PATIENCE_SECONDS)
    next(call)
    return [parity.told(lambda: next(call)) for _ in range(3)]
