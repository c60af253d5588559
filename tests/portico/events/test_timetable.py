"""Events for a later moment."""

from __future__ import annotations

import time
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy.exc import ProgrammingError

from portico.events import Events, Relay, RelaySettings, reactions_of
from portico.ids import Ids
from tests.portico.events.test_relay import Ledger, effects, outbox, publish

if TYPE_CHECKING:
    from portico.clock import ManualClock
    from portico.data import Database
    from portico.events import Doorbell


@pytest.fixture
def relay(shop: Database, bank: Database, clock: ManualClock, doorbell: Doorbell) -> Relay:
    return Relay(
        [shop, bank],
        reactions_of(Ledger(), database=bank),
        clock=clock,
        doorbell=doorbell,
        settings=RelaySettings(poll_seconds=0.01),
        random=Random(1),
    )


def plan(shop: Database, events: Events, clock: ManualClock, value: str, *, seconds: float) -> str:
    at = clock.now() + timedelta(seconds=seconds)
    with shop.unit_of_work() as session:
        message = StringValue(value=value)
        return events.publish(session, message, aggregate_id=value.partition(":")[0], at=at)


def test_an_event_is_delivered_when_its_moment_comes_and_not_earlier(
    shop: Database, bank: Database, events: Events, clock: ManualClock, relay: Relay
) -> None:
    event_id = plan(shop, events, clock, "a:1", seconds=60)
    clock.advance(seconds=59)
    relay.settle()
    assert effects(bank) == []
    assert outbox(shop) == {}
    clock.advance(seconds=1)
    relay.settle()
    assert effects(bank) == ["a:1"]
    row = outbox(shop)["a:1"]
    assert (str(row.id), row.occurred_at) == (event_id, clock.now())
    clock.advance(seconds=60)
    relay.settle()
    assert effects(bank) == ["a:1"]


def test_it_holds_up_nothing_and_comes_behind_what_was_published_before_its_moment(
    shop: Database, bank: Database, events: Events, clock: ManualClock, relay: Relay
) -> None:
    plan(shop, events, clock, "a:later", seconds=60)
    plan(shop, events, clock, "a:soon", seconds=30)
    publish(shop, events, "a:now")
    relay.settle()
    assert effects(bank) == ["a:now"]
    clock.advance(seconds=60)
    publish(shop, events, "a:before")
    relay.settle()
    assert effects(bank) == ["a:now", "a:before", "a:soon", "a:later"]


def test_it_can_be_taken_back_until_its_moment(
    shop: Database, bank: Database, events: Events, clock: ManualClock, relay: Relay
) -> None:
    first, second = (plan(shop, events, clock, f"a:{n}", seconds=n) for n in (1, 2))
    clock.advance(seconds=1)
    relay.settle()
    with shop.unit_of_work() as session:
        assert not events.withdraw(session, first)
        assert events.withdraw(session, second)
        assert not events.withdraw(session, second)
    clock.advance(seconds=1)
    relay.settle()
    assert effects(bank) == ["a:1"]


def test_what_is_rolled_back_was_never_planned(
    shop: Database, bank: Database, events: Events, clock: ManualClock, relay: Relay
) -> None:
    with pytest.raises(KeyError), shop.unit_of_work() as session:
        events.publish(session, StringValue(value="a:1"), aggregate_id="a", at=clock.now())
        raise KeyError
    relay.settle()
    assert effects(bank) == []


def test_a_relay_that_runs_notices_by_itself(
    shop: Database, bank: Database, events: Events, clock: ManualClock, relay: Relay
) -> None:
    plan(shop, events, clock, "a:1", seconds=60)
    relay.start()
    clock.advance(seconds=60)
    until = time.monotonic() + 20
    while not effects(bank) and time.monotonic() < until:
        time.sleep(0.01)
    relay.stop()
    assert effects(bank) == ["a:1"]


def test_a_module_without_the_table_cannot_publish_for_later(
    bank: Database, clock: ManualClock, doorbell: Doorbell
) -> None:
    events = Events(bank, clock=clock, ids=Ids(clock=clock), doorbell=doorbell)
    with pytest.raises(ProgrammingError, match="outbox_later"), bank.unit_of_work() as session:
        events.publish(session, StringValue(value="a:1"), aggregate_id="a", at=clock.now())
