"""Events that were given up or have arrived: looking at them, delivering them again, removing them."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import text

from portico.events import Events, Relay, RelaySettings, reactions_of, reacts_to
from portico.events.desk import ReplayError
from portico.events.ended import Selection
from tests.portico.events.test_relay import Ledger, effects, outbox, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.clock import ManualClock
    from portico.data import Database
    from portico.events import Doorbell

DAY = 24 * 3600.0
EVERYTHING = Selection(type="google.protobuf.StringValue")


@pytest.fixture
def relay_of(
    shop: Database, bank: Database, clock: ManualClock, doorbell: Doorbell
) -> Callable[..., Relay]:
    def make(*ledgers: Any, **settings: Any) -> Relay:
        return Relay(
            [shop],
            [each for ledger in ledgers for each in reactions_of(ledger, database=bank)],
            clock=clock,
            doorbell=doorbell,
            settings=RelaySettings(reactions_at_once=1, max_attempts=1, **settings),
            random=Random(1),
        )

    return make


def notes(bank: Database) -> int:
    with bank.reading() as session:
        return int(session.execute(text("SELECT count(*) FROM bank.inbox")).scalar_one())


class Second(Ledger):
    """Another consumer of the same events."""


class TestADeadEvent:
    def test_is_listed_with_why(
        self, shop: Database, events: Events, relay_of: Callable[..., Relay], clock: ManualClock
    ) -> None:
        relay = relay_of(Ledger(fails=lambda event: event == "a:1"))
        publish(shop, events, "a:1", "b:1")
        relay.settle()
        (dead,) = relay.desk().undelivered(Selection(), dead=True, most=10)
        assert dead.id == outbox(shop)["a:1"].id
        assert (dead.aggregate_type, dead.aggregate_id, dead.module) == ("shop", "a", "")
        assert dead.error == "bank.Ledger.on_text: RuntimeError: no a:1"
        assert dead.dead_at == clock.now()
        assert relay.desk().undelivered(Selection(ids=(UUID(int=1),)), dead=True, most=10) == []
        assert relay.desk().undelivered(Selection(type="other"), dead=True, most=10) == []
        assert relay.desk().undelivered(Selection(until=clock.now()), dead=True, most=10) == []
        assert len(relay.desk().undelivered(Selection(since=clock.now()), dead=True, most=10)) == 1

    def test_comes_again_to_those_who_did_not_get_it(
        self, shop: Database, bank: Database, events: Events, relay_of: Callable[..., Relay]
    ) -> None:
        failing = Second(fails=lambda _: True)
        relay = relay_of(Ledger(), failing)
        publish(shop, events, "a:1")
        relay.settle()
        failing.fails = lambda _: False
        assert relay.desk().revive(EVERYTHING) == 1
        relay.settle()
        assert effects(bank) == ["a:1", "a:1"]  # one of each consumer
        assert relay.desk().revive(EVERYTHING) == 0

    def test_that_inboxes_may_have_forgotten_does_not(
        self, shop: Database, events: Events, relay_of: Callable[..., Relay], clock: ManualClock
    ) -> None:
        relay = relay_of(Ledger(fails=lambda _: True))
        publish(shop, events, "a:1")
        relay.settle()
        clock.advance(seconds=61 * DAY)
        with pytest.raises(ReplayError, match="inboxes have forgotten"):
            relay.desk().revive(EVERYTHING)
        assert relay.desk().revive(Selection(since=clock.now())) == 0


class TestReplayForOneConsumer:
    def test_has_its_effect_again_and_nobody_elses(
        self, shop: Database, bank: Database, events: Events, relay_of: Callable[..., Relay]
    ) -> None:
        first, second = Ledger(), Second()
        relay = relay_of(first, second)
        publish(shop, events, "a:1", "a:2", "b:1")
        relay.settle()
        done = list(relay.desk().replay(EVERYTHING, consumer="bank.Second.on_text"))
        assert [each.failure for each in done] == [None] * 3
        assert effects(bank)[6:] == ["a:1", "a:2", "b:1"]
        assert (len(first.calls), len(second.calls), notes(bank)) == (3, 6, 6)

    def test_that_fails_changes_nothing_and_leaves_the_rest_of_the_aggregate(
        self, shop: Database, bank: Database, events: Events, relay_of: Callable[..., Relay]
    ) -> None:
        ledger = Ledger()
        relay = relay_of(ledger)
        publish(shop, events, "a:1", "a:2", "b:1")
        relay.settle()
        ledger.fails = lambda event: event == "a:1"
        done = list(relay.desk().replay(EVERYTHING, consumer="bank.Ledger.on_text"))
        assert [each.failure for each in done] == [
            "bank.Ledger.on_text: RuntimeError: no a:1",
            None,
        ]
        assert effects(bank)[3:] == ["b:1"]
        assert notes(bank) == 3

    def test_works_outside_a_transaction_too(
        self, shop: Database, events: Events, relay_of: Callable[..., Relay], bank: Database
    ) -> None:
        class Outside:
            def __init__(self) -> None:
                self.seen: list[str] = []

            @reacts_to(StringValue, in_transaction=False)
            def on_text(self, event: StringValue) -> None:
                self.seen.append(event.value)

        outside = Outside()
        relay = relay_of(outside)
        publish(shop, events, "a:1")
        relay.settle()
        assert len(list(relay.desk().replay(EVERYTHING, consumer="bank.Outside.on_text"))) == 1
        assert outside.seen == ["a:1", "a:1"]
        assert notes(bank) == 1

    def test_leaves_what_is_still_under_way(
        self, shop: Database, events: Events, relay_of: Callable[..., Relay]
    ) -> None:
        relay = relay_of(Ledger())
        publish(shop, events, "a:1")
        assert list(relay.desk().replay(EVERYTHING, consumer="bank.Ledger.on_text")) == []

    def test_refuses_a_consumer_that_is_not_here_or_reacts_to_something_else(
        self, relay_of: Callable[..., Relay]
    ) -> None:
        desk = relay_of(Ledger()).desk()
        with pytest.raises(ReplayError, match=r"no consumer bank.Nobody.x here, only: bank.Ledger"):
            desk.replay(EVERYTHING, consumer="bank.Nobody.x")
        with pytest.raises(ReplayError, match=r"reacts to google.protobuf.StringValue"):
            desk.replay(Selection(type="other"), consumer="bank.Ledger.on_text")


class TestHousekeeping:
    def test_removes_what_has_reached_everybody_long_ago(
        self, shop: Database, events: Events, relay_of: Callable[..., Relay], clock: ManualClock
    ) -> None:
        relay = relay_of(Ledger())
        publish(shop, events, "a:1")
        relay.settle()
        clock.advance(seconds=8 * DAY)
        publish(shop, events, "a:2")
        relay.settle()
        relay._here._receiver.prepare()
        assert list(outbox(shop)) == ["a:2"]

    def test_keeps_dead_ones_and_those_that_somebody_elsewhere_has_yet_to_get(
        self, shop: Database, events: Events, relay_of: Callable[..., Relay], clock: ManualClock
    ) -> None:
        relay = relay_of(Ledger(fails=lambda event: event == "a:1"))
        publish(shop, events, "a:1", "b:1", "c:1", "d:1")
        relay.settle()
        with shop.unit_of_work() as session:
            session.execute(
                text(
                    "INSERT INTO shop.outbox_elsewhere (event_id, module, sequence, aggregatetype, aggregateid,"
                    " delivered_at) SELECT id, 'post', sequence, 'shop', aggregateid,"
                    " CASE aggregateid WHEN 'c' THEN delivered_at END FROM shop.outbox WHERE aggregateid IN ('b', 'c')"
                )
            )
        clock.advance(seconds=8 * DAY)
        done = relay.housekeeping.purge(
            events_after=timedelta(days=7), notes_after=timedelta(days=60)
        )
        assert done == (2, 0)
        assert list(outbox(shop)) == ["a:1", "b:1"]
        with shop.reading() as session:
            left = session.execute(text("SELECT aggregateid FROM shop.outbox_elsewhere")).scalars()
            assert list(left) == ["b"]

    def test_removes_notes_when_they_are_older_still(
        self, bank: Database, shop: Database, events: Events, clock: ManualClock, doorbell: Doorbell
    ) -> None:
        relay = Relay(
            [shop, bank],
            reactions_of(Ledger(), database=bank),
            clock=clock,
            doorbell=doorbell,
        )
        publish(shop, events, "a:1")
        relay.settle()
        purge = partial(
            relay.housekeeping.purge, events_after=timedelta(days=7), notes_after=timedelta(days=60)
        )
        clock.advance(seconds=59 * DAY)
        assert purge() == (1, 0)
        clock.advance(seconds=2 * DAY)
        assert purge() == (0, 1)
        assert notes(bank) == 0

    def test_archives_first(
        self, shop: Database, events: Events, relay_of: Callable[..., Relay], tmp_path: Any
    ) -> None:
        relay = relay_of(Ledger())
        publish(shop, events, "a:1", "b:1")
        relay.settle()
        ids = {str(row.id) for row in outbox(shop).values()}
        with (tmp_path / "archive").open("a") as file:
            relay._clock.advance(seconds=1)  # type: ignore[attr-defined]  # the fixture's
            relay.housekeeping.purge(events_after=timedelta(0), notes_after=None, archive=file)
        lines = [json.loads(line) for line in (tmp_path / "archive").read_text().splitlines()]
        assert {line["id"] for line in lines} == ids
        assert lines[0]["type"] == "google.protobuf.StringValue"
        assert lines[0]["headers"]["request_id"]
        assert outbox(shop) == {}

    def test_removes_nothing_that_could_not_be_archived(
        self, shop: Database, events: Events, relay_of: Callable[..., Relay], clock: ManualClock
    ) -> None:
        relay = relay_of(Ledger())
        publish(shop, events, "a:1")
        relay.settle()
        clock.advance(seconds=1)
        with pytest.raises(io.UnsupportedOperation):  # it has no file to be sure of
            relay.housekeeping.purge(
                events_after=timedelta(0), notes_after=None, archive=io.StringIO()
            )
        assert list(outbox(shop)) == ["a:1"]

    def test_notes_must_outlive_events(self) -> None:
        with pytest.raises(ValueError, match="inboxes must remember"):
            RelaySettings(keep_events_seconds=2, keep_notes_seconds=1)
