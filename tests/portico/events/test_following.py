"""Waiting for the reactions to what a request published."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from google.protobuf.wrappers_pb2 import StringValue

from portico.context import current, entered, root
from portico.events import Relay, RelaySettings, reactions_of, reacts_to
from portico.events.following import Following

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from portico.clock import Clock
    from portico.data import Database
    from portico.events import Doorbell, Events

NO_TIME = 0.0
LONG = 10.0


def test_a_request_that_published_nothing_is_not_waited_for() -> None:
    with Following().request("r1") as wait:
        assert wait(NO_TIME)


def test_a_follower_waits_until_the_last_event_is_dealt_with() -> None:
    following = Following()
    first, second = uuid4(), uuid4()
    with following.request("r1") as wait:
        following.published("r1", first)
        following.published("r1", second)
        following.dealt_with("r1", first)
        assert not wait(NO_TIME)
        threading.Timer(0.01, following.dealt_with, ("r1", second)).start()
        assert wait(LONG)


def test_what_follows_from_an_event_is_followed_with_it() -> None:
    following = Following()
    cause, effect = uuid4(), uuid4()
    with following.request("r1") as wait:
        following.published("r1", cause)
        following.published("r1", effect)  # by the reaction to `cause`, before that is over
        following.dealt_with("r1", cause)
        assert not wait(NO_TIME)
        following.dealt_with("r1", effect)
        assert wait(NO_TIME)


def test_another_requests_events_are_not_waited_for() -> None:
    following = Following()
    with following.request("r1") as wait:
        following.published("r2", uuid4())
        assert wait(NO_TIME)


def test_an_event_that_was_delivered_before_it_was_noted_keeps_nobody_waiting_for_ever() -> None:
    following = Following()
    with following.request("r1") as wait:
        following.published("r1", uuid4())  # rolled back: nobody will deal with it
        assert not wait(0.01)


def test_nothing_is_kept_of_requests_that_nobody_follows() -> None:
    following = Following()
    following.published("r1", UUID(int=1))
    with following.request("r1") as outer, following.request("r1") as inner:
        assert outer(NO_TIME)
        assert inner(NO_TIME)
    assert not following._requests


class Chain:
    """Answers the first event with a second one, for the same request."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.seen: list[str] = []

    @reacts_to(StringValue)
    def on_text(self, event: StringValue, session: Connection) -> None:
        self.seen.append(f"{event.value} for {current().request_id}")
        if event.value == "cause":
            self._events.publish(session, StringValue(value="effect"), aggregate_id="b")


def test_a_running_relay_ends_the_wait_after_the_last_reaction(
    shop: Database, events: Events, doorbell: Doorbell, clock: Clock
) -> None:
    chain = Chain(events)
    relay = Relay(
        [shop],
        reactions_of(chain, database=shop),
        clock=clock,
        doorbell=doorbell,
        settings=RelaySettings(poll_seconds=LONG),
    )
    relay.start()
    try:
        with entered(root()) as call, doorbell.following.request(call.request_id) as wait:
            with shop.unit_of_work() as session:
                events.publish(session, StringValue(value="cause"), aggregate_id="a")
            assert wait(LONG)
            assert chain.seen == [f"{text} for {call.request_id}" for text in ("cause", "effect")]
    finally:
        relay.stop()
