"""Streams of requests: all of them, in order, and those that are none."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from examples.greeter.v1 import greeter_pb2 as pb

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.greeting import (
    MEGABYTE,
    NO_FUTURES,
    OWN_ITERATOR,
    PATIENCE_SECONDS,
    READ_WHOLE,
    gather,
    greeter,
    read,
)
from tests.placement.streaming import POPULATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.testing.cases import Script
    from portico.testing.transports import Stand

requests = Group(name="streams of requests", populate=POPULATE, stay=True)
GROUPS = [requests]


def _gathering(*names: str) -> Script:
    def script(stand: Stand) -> Any:
        return greeter(stand).Gather(gather(*names), timeout=PATIENCE_SECONDS).message

    return script


requests.add("none", _gathering(), expects={"": ""})
requests.add("one", _gathering("join"), expects={"": ""})
requests.add("two in order", _gathering("join", "a", "b"), expects={"": "a b"})
requests.add("sixty", _gathering("join", *"x" * 60), expects={"": " ".join("x" * 60)})
requests.add(
    "empty ones and a big one",
    _gathering("sizes", "", "é" * MEGABYTE, ""),
    expects={"": str([0, MEGABYTE, 0])},
)
requests.add("need not be read", _gathering("ignore", "a", "b"), expects={"": "did not read on"})


@requests.case(expects={"": "a b"}, without=NO_FUTURES)
def arrive_at_a_future_too(stand: Stand) -> Any:
    future = greeter(stand).Gather.future(gather("join", "a", "b"), timeout=PATIENCE_SECONDS)
    return future.result().message


@requests.case(
    expects={"": ("ended", "nothing")},
    without=OWN_ITERATOR,
)
def are_over_for_a_servicer_that_has_answered(stand: Stand) -> Any:
    message = greeter(stand).Gather(gather("late", "a", "b"), timeout=PATIENCE_SECONDS).message
    return message, next(stand.servicer.requests, "nothing")


def _failing() -> Iterator[Any]:
    yield from ()
    raise ValueError("private")


def _sending(make: Callable[[], Any]) -> Script:
    def script(stand: Stand) -> Any:
        stub, seconds = greeter(stand), PATIENCE_SECONDS
        return {
            "unary": parity.told(lambda: stub.Gather(make(), timeout=seconds).message),
            "future": parity.told(lambda: stub.Gather.future(make(), timeout=seconds).result()),
            "stream": read(stub.Chat(make(), timeout=seconds)),
        }

    return script


for what, make in {
    "a list": lambda: [pb.ChatRequest(name="a")],
    "None": lambda: None,
    "something that is no message": lambda: iter(["no message"]),
    "a None inside": lambda: iter([None]),
    "an iterator that raises": _failing,
}.items():
    requests.add(f"{what} fails the call", _sending(make), without=OWN_ITERATOR)


@requests.case(
    expects={"": [f"{number} after {number}" for number in range(20)]}, without=READ_WHOLE
)
def and_responses_may_take_turns(stand: Stand) -> Any:
    heard: list[str] = []
    answered = threading.Semaphore(1)

    def chatting() -> Iterator[pb.ChatRequest]:
        for number in range(20):
            answered.acquire(timeout=PATIENCE_SECONDS)
            yield pb.ChatRequest(name=f"{number} after {len(heard)}")

    for response in greeter(stand).Chat(chatting(), timeout=PATIENCE_SECONDS):
        heard.append(response.message)
        answered.release()
    return heard
