"""Waiting for the reactions to what a request published when they run in other processes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from portico.v1 import events_service_pb2 as pb

from portico.clock import SystemClock
from portico.context import entered, root
from portico.events import following as module
from portico.events import reacts_to
from portico.events.following import Following
from tests.portico.events.nodes import Node, delivering, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from portico.data import Engine
    from portico.events import Events
    from portico.events.streams import Streams

NO_TIME = 0.0
LONG = 30.0


class Relayed:
    """Answers a text (but not q) with the number of its letters, and a number with the next smaller one."""

    def __init__(self) -> None:
        self.events: Events
        self.seen: list[object] = []
        self.delay_seconds = 0.0

    def note(self, value: object) -> None:
        time.sleep(self.delay_seconds)
        self.seen.append(value)


class Bank(Relayed):
    @reacts_to(StringValue)
    def on_text(self, event: StringValue, session: Connection) -> None:
        self.note(event.value)
        if not event.value.startswith("q"):
            number = Int64Value(value=len(event.value))
            self.events.publish(session, number, aggregate_id="n")


class Post(Relayed):
    @reacts_to(Int64Value)
    def on_number(self, event: Int64Value, session: Connection) -> None:
        self.note(event.value)
        if event.value > 1:
            text = StringValue(value="x" * (event.value - 1))
            self.events.publish(session, text, aggregate_id="t")


class Three:
    """A shop that publishes; a bank and a post that keep each other busy."""

    def __init__(self, engine: Engine, streams: Streams | None = None) -> None:
        clock = SystemClock()
        self.for_bank, self.for_post = Bank(), Post()
        self.shop = Node("shop", engine, clock=clock)
        self.bank = Node("bank", engine, self.for_bank, clock=clock, streams=streams)
        self.post = Node("post", engine, self.for_post, clock=clock, streams=streams)
        self.for_bank.events, self.for_post.events = self.bank.events, self.post.events
        self.shop.join(self.bank, self.post, poll_seconds=LONG)
        self.bank.join(self.post, poll_seconds=LONG)
        self.post.join(self.bank, poll_seconds=LONG)
        self.nodes = (self.shop, self.bank, self.post)


@pytest.fixture
def three(engine: Engine) -> Iterator[Three]:
    three = Three(engine)
    with serving(*three.nodes), delivering(*(node.relay for node in three.nodes)):
        yield three


@pytest.fixture
def three_by_redis(engine: Engine, streams: Streams) -> Iterator[Three]:
    three = Three(engine, streams)
    with serving(*three.nodes), delivering(*(node.relay for node in three.nodes)):
        yield three


@pytest.mark.parametrize("way", ["three", "three_by_redis"])
def test_the_wait_ends_after_the_last_reaction_in_any_process(
    way: str, request: pytest.FixtureRequest
) -> None:
    three: Three = request.getfixturevalue(way)
    three.for_bank.delay_seconds = three.for_post.delay_seconds = 0.02
    for _ in range(3):
        seen = len(three.for_bank.seen), len(three.for_post.seen)
        with (
            entered(root()) as call,
            three.shop.doorbell.following.request(call.request_id) as wait,
        ):
            three.shop.publish("xxx")
            assert wait(LONG)
            assert three.for_bank.seen[seen[0] :] == ["xxx", "xx", "x"]
            assert three.for_post.seen[seen[1] :] == [3, 2, 1]


def test_nothing_is_kept_of_it_afterwards(three: Three) -> None:
    with entered(root()) as call, three.shop.doorbell.following.request(call.request_id) as wait:
        three.shop.publish("xx")
        assert wait(LONG)
    requests = [node.doorbell.following._requests for node in three.nodes]
    until = time.monotonic() + LONG
    while any(requests) and time.monotonic() < until:
        time.sleep(0.01)
        for node in three.nodes:  # what nobody came for ends with its lease
            for leased in [*node.doorbell.following._leases]:
                node.doorbell.following.end_lease(leased)
    assert requests == [{}, {}, {}]


def test_without_the_answer_that_it_goes_on_the_wait_would_end_too_early(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    three.for_post.delay_seconds = 0.3
    monkeypatch.setattr(Following, "goes_on", lambda *_: False)
    with entered(root()) as call, three.shop.doorbell.following.request(call.request_id) as wait:
        three.shop.publish("x")
        assert wait(LONG)
        assert three.for_post.seen == []


def test_the_wait_has_an_end_when_a_reaction_has_none(three: Three) -> None:
    three.for_post.delay_seconds = 0.3
    with entered(root()) as call, three.shop.doorbell.following.request(call.request_id) as wait:
        three.shop.publish("x")
        assert not wait(0.1)


def test_a_lane_waits_for_nobody_while_a_request_is_followed(three: Three) -> None:
    gate, entered_once = threading.Event(), threading.Event()

    def blocked(value: object) -> None:
        entered_once.set()
        gate.wait(LONG)

    three.for_post.note = blocked  # type: ignore[method-assign]
    with entered(root()) as call, three.shop.doorbell.following.request(call.request_id) as wait:
        try:
            three.shop.publish("x")
            assert entered_once.wait(LONG)
            three.shop.publish("q")
            until = time.monotonic() + LONG
            while three.for_bank.seen != ["x", "q"] and time.monotonic() < until:
                time.sleep(0.01)
            assert three.for_bank.seen == ["x", "q"]
        finally:
            gate.set()
        assert wait(LONG)


def test_only_so_many_may_wait_in_another_process_at_a_time(three: Three) -> None:
    servicer = three.bank.servicer
    while servicer._waiting.acquire(blocking=False):
        pass
    assert not three.bank.stub.Follow(pb.FollowRequest(request_id="r1")).settled


def test_a_request_that_nobody_knows_there_has_come_to_its_end(three: Three) -> None:
    assert three.bank.stub.Follow(pb.FollowRequest(request_id="r1")).settled


class TestALease:
    def test_keeps_a_request_followed_without_a_follower(self) -> None:
        following = Following()
        following.lease("r1", LONG)
        assert following.is_followed("r1")
        assert not following.goes_on("r1")
        following.end_lease("r1")
        assert not following.is_followed("r1")

    def test_ends_with_its_time(self) -> None:
        following = Following()
        following.lease("r1", -1)
        following.lease("r2", LONG)
        assert not following.is_followed("r1")
        assert following.is_followed("r2")

    def test_that_ends_leaves_a_follower_alone(self) -> None:
        following = Following()
        with following.request("r1"):
            following.lease("r1", LONG)
            following.end_lease("r1")
            assert following.is_followed("r1")
        assert not following.is_followed("r1")

    def test_is_given_to_so_many_and_no_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_MOST_LEASES", 2)
        following = Following()
        for number in range(3):
            following.lease(f"r{number}", LONG)
        assert [following.is_followed(f"r{number}") for number in range(3)] == [True, True, False]


class TestAsking:
    def asked(self, *answers: str) -> tuple[Following, list[tuple[str, Sequence[str]]]]:
        following = Following()
        asked: list[tuple[str, Sequence[str]]] = []
        left = iter(answers)

        def ask(process: str, request_id: str, *, waiting: Sequence[str], seconds: float) -> bool:
            asked.append((process, waiting))
            return next(left) == "settled"

        following.ask = ask
        return following, asked

    def test_a_process_is_asked_once_for_what_it_was_told_of(self) -> None:
        following, asked = self.asked("settled")
        with following.request("r1") as wait:
            following.dealt_with("r1", uuid4(), goes_on_in="bank")
            assert wait(LONG)
            assert wait(LONG)
        assert asked == [("bank", ())]

    def test_a_process_that_waits_for_this_one_is_not_asked(self) -> None:
        following, asked = self.asked()
        with following.request("r1") as wait:
            following.dealt_with("r1", uuid4(), goes_on_in="bank")
            assert wait(LONG, waiting=("shop", "bank"))
        assert asked == []

    def test_an_answer_that_it_goes_on_still_ends_the_wait(self) -> None:
        following, asked = self.asked("goes on")
        with following.request("r1") as wait:
            following.dealt_with("r1", uuid4(), goes_on_in="bank")
            assert not wait(LONG)
        assert len(asked) == 1

    def test_there_is_no_asking_without_time(self) -> None:
        following, asked = self.asked()
        with following.request("r1") as wait:
            following.dealt_with("r1", uuid4(), goes_on_in="bank")
            assert not wait(NO_TIME)
        assert asked == []
