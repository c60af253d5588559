"""Reactions outside a transaction: for what must not happen inside one, and may come again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import text

from portico import errors
from portico.context import current
from portico.events import Relay, inbox, reactions_of, reacts_to
from portico.events.claim import claiming

if TYPE_CHECKING:
    from portico.clock import ManualClock
    from portico.data import Database
    from portico.events import Doorbell, Events


class Messenger:
    """Tells a provider, which may not answer."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.open_transactions: list[object] = []
        self.fails = False
        self.goes_on = False

    @reacts_to(StringValue, in_transaction=False)
    def on_text(self, event: StringValue) -> None:
        self.open_transactions.append(current().transaction)
        self.told.append(event.value)
        if self.fails:
            raise RuntimeError("no answer")
        if self.goes_on:
            raise errors.aborted("WORKFLOW_RUNNING", "it goes on by itself")


@pytest.fixture
def messenger() -> Messenger:
    return Messenger()


@pytest.fixture
def relay(
    shop: Database,
    bank: Database,
    events: Events,
    clock: ManualClock,
    doorbell: Doorbell,
    messenger: Messenger,
) -> Relay:
    with shop.unit_of_work() as session:
        events.publish(session, StringValue(value="a"), aggregate_id="a")
    reactions = reactions_of(messenger, database=bank)
    return Relay([shop], reactions, clock=clock, doorbell=doorbell)


def forget_delivery(shop: Database) -> None:
    """As when the relay dies after the reaction and before it has marked the event."""
    with shop.unit_of_work() as session:
        session.execute(text("UPDATE shop.outbox SET delivered_at = NULL, next_attempt_at = NULL"))


def noted(bank: Database) -> list[str]:
    with bank.reading() as session:
        return list(session.execute(text("SELECT consumer FROM bank.inbox")).scalars())


def test_it_runs_while_no_transaction_is_open_and_is_noted_afterwards(
    relay: Relay, bank: Database, messenger: Messenger
) -> None:
    relay.settle()

    assert messenger.told == ["a"]
    assert messenger.open_transactions == [None]
    assert noted(bank) == ["Messenger.on_text"]


def test_an_event_that_was_noted_does_not_come_again(
    relay: Relay, shop: Database, messenger: Messenger
) -> None:
    relay.settle()
    forget_delivery(shop)
    relay.settle()

    assert messenger.told == ["a"]


def test_a_failure_leaves_no_note_and_the_event_comes_again(
    relay: Relay, shop: Database, bank: Database, messenger: Messenger
) -> None:
    messenger.fails = True
    relay.settle()
    assert noted(bank) == []

    messenger.fails = False
    forget_delivery(shop)
    relay.settle()

    assert messenger.told == ["a", "a"]
    assert noted(bank) == ["Messenger.on_text"]


def attempts(shop: Database) -> int:
    with shop.reading() as session:
        return int(session.execute(text("SELECT attempts FROM shop.outbox")).scalar_one())


def test_a_workflow_that_goes_on_costs_no_attempt_however_long_it_takes(
    relay: Relay, shop: Database, bank: Database, clock: ManualClock, messenger: Messenger
) -> None:
    messenger.goes_on = True
    for _ in range(20):
        relay.settle()
        clock.advance(seconds=60)
    assert len(messenger.told) == 20
    assert (attempts(shop), relay.failed, relay.dead) == (0, 0, 0)
    assert noted(bank) == []

    messenger.goes_on = False
    relay.settle()
    assert noted(bank) == ["Messenger.on_text"]


def test_it_waits_for_one_of_its_aggregate_that_still_runs_elsewhere(
    relay: Relay, shop: Database, bank: Database, clock: ManualClock, messenger: Messenger
) -> None:
    with claiming(bank) as elsewhere:
        assert inbox.lock(elsewhere, "bank", aggregate=("shop", "a"))
        relay.settle()
        assert (messenger.told, attempts(shop)) == ([], 0)
    clock.advance(seconds=60)
    relay.settle()
    assert messenger.told == ["a"]


@pytest.mark.parametrize(
    ("module", "aggregate"), [("post", ("shop", "a")), ("bank", ("shop", "b"))]
)
def test_it_waits_for_no_other_module_and_no_other_aggregate(
    relay: Relay,
    bank: Database,
    messenger: Messenger,
    module: str,
    aggregate: tuple[str, str],
) -> None:
    with claiming(bank) as elsewhere:
        assert inbox.lock(elsewhere, module, aggregate=aggregate)
        relay.settle()
    assert messenger.told == ["a"]
