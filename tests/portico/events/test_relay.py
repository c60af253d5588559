from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from sqlalchemy import text

from portico.context import Call, Identity, Origin, current, entered, root
from portico.data import TransactionMisuseError
from portico.events import Events, Relay, RelaySettings, reactions_of, reacts_to
from portico.events.outbox import Outbox
from portico.ids import Ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Connection

    from portico.clock import ManualClock
    from portico.data import Database
    from portico.events import Doorbell


def table_of(schema: str) -> sa.TableClause:
    names = ("sequence", "aggregate", "event")
    return sa.table("effects", *(sa.column(name) for name in names), schema=schema)


class Ledger:
    """Writes down what reaches it, and fails when it is told to."""

    def __init__(
        self, schema: str = "bank", *, fails: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._schema = schema
        self.fails = fails
        self.calls: list[Call] = []

    @reacts_to(StringValue)
    def on_text(self, event: StringValue, session: Connection) -> None:
        self.calls.append(current())
        aggregate = event.value.partition(":")[0]
        row = {"aggregate": aggregate, "event": event.value}
        session.execute(table_of(self._schema).insert(), row)
        if self.fails(event.value):
            raise RuntimeError(f"no {event.value}")


class RelayFor:
    """Makes relays from the shop's outbox."""

    def __init__(self, shop: Database, clock: ManualClock, doorbell: Doorbell) -> None:
        self._shop = shop
        self._clock = clock
        self._doorbell = doorbell

    def __call__(self, *reactions: Any, **settings: Any) -> Relay:
        return Relay(
            [self._shop],
            [each for group in reactions for each in group],
            clock=self._clock,
            doorbell=self._doorbell,
            settings=RelaySettings(**{"reactions_at_once": 1, **settings}),
            random=Random(1),
        )


@pytest.fixture
def relay_for(shop: Database, clock: ManualClock, doorbell: Doorbell) -> RelayFor:
    return RelayFor(shop, clock, doorbell)


def publish(shop: Database, events: Events, *values: str) -> None:
    for value in values:
        with shop.unit_of_work() as session:
            message = StringValue(value=value)
            events.publish(session, message, aggregate_id=value.partition(":")[0])


def effects(database: Database) -> list[str]:
    with database.reading() as session:
        table = table_of(database.schema)
        return list(session.execute(sa.select(table.c.event).order_by(table.c.sequence)).scalars())


def outbox(shop: Database) -> dict[str, Any]:
    with shop.reading() as session:
        rows = session.execute(text("SELECT * FROM shop.outbox ORDER BY sequence")).all()
    return {StringValue.FromString(bytes(row.payload)).value: row for row in rows}


def test_a_committed_event_reaches_the_one_who_reacts(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor, clock: ManualClock
) -> None:
    relay = relay_for(reactions_of(Ledger(), database=bank))
    publish(shop, events, "a:1", "b:1")
    assert effects(bank) == []
    relay.settle()
    assert effects(bank) == ["a:1", "b:1"]
    assert outbox(shop)["a:1"].delivered_at == clock.now()
    assert relay.delivered == 2
    assert relay.lag_seconds() == 0


def test_settling_again_delivers_nothing_twice(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor
) -> None:
    relay = relay_for(reactions_of(Ledger(), database=bank))
    publish(shop, events, "a:1")
    relay.settle()
    relay.settle()
    assert effects(bank) == ["a:1"]


def test_everyone_who_reacts_gets_it(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor
) -> None:
    relay = relay_for(
        reactions_of(Ledger("bank"), database=bank), reactions_of(Ledger("shop"), database=shop)
    )
    publish(shop, events, "a:1")
    relay.settle()
    assert effects(bank) == effects(shop) == ["a:1"]


def test_an_event_nobody_reacts_to_is_done_at_once(
    shop: Database, events: Events, relay_for: RelayFor
) -> None:
    relay = relay_for()
    publish(shop, events, "a:1")
    relay.settle()
    assert outbox(shop)["a:1"].delivered_at is not None


def test_a_reaction_runs_in_a_call_of_its_module_for_the_one_who_asked(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor
) -> None:
    origin = Origin(Identity("usr_1", frozenset({"customer"})), "request", "1" * 32)
    call = root(module="shop")
    call.origin = origin
    with entered(call):
        publish(shop, events, "a:1")
    ledger = Ledger()
    relay_for(reactions_of(ledger, database=bank), reaction_timeout_seconds=30).settle()
    (seen,) = ledger.calls
    assert (seen.module, seen.caller, seen.parent) == ("bank", "shop", None)
    assert (seen.identity, seen.request_id, seen.trace_id) == (
        origin.identity,
        "request",
        "1" * 32,
    )
    assert seen.deadline is not None
    assert 0 < seen.deadline - time.monotonic() <= 30


def test_a_reaction_may_publish_in_its_own_transaction(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor
) -> None:
    class Echo:
        @reacts_to(Int64Value)
        def on_number(self, event: Int64Value, session: Connection) -> None:
            events.publish(session, StringValue(value=f"a:{event.value}"), aggregate_id="a")

    relay = relay_for(reactions_of(Echo(), database=shop), reactions_of(Ledger(), database=bank))
    with shop.unit_of_work() as session:
        events.publish(session, Int64Value(value=7), aggregate_id="n")
    relay.settle()
    assert effects(bank) == ["a:7"]


class TestAReactionThatFails:
    def test_leaves_no_effect_and_is_tried_again_later(
        self,
        shop: Database,
        bank: Database,
        events: Events,
        relay_for: RelayFor,
        clock: ManualClock,
    ) -> None:
        ledger = Ledger(fails=lambda _: True)
        relay = relay_for(reactions_of(ledger, database=bank), first_delay_seconds=10)
        publish(shop, events, "a:1")
        relay.settle()
        assert effects(bank) == []
        row = outbox(shop)["a:1"]
        assert row.attempts == relay.failed == 1
        assert row.last_error == "bank.Ledger.on_text: RuntimeError: no a:1"
        assert 5 <= (row.next_attempt_at - clock.now()).total_seconds() <= 10

        ledger.fails = lambda _: False
        relay.settle()
        assert effects(bank) == []
        clock.advance(seconds=10)
        assert relay.lag_seconds() == 10
        relay.settle()
        assert effects(bank) == ["a:1"]

    def test_waits_twice_as_long_each_time_up_to_a_limit(
        self,
        shop: Database,
        bank: Database,
        events: Events,
        relay_for: RelayFor,
        clock: ManualClock,
    ) -> None:
        relay = relay_for(
            reactions_of(Ledger(fails=lambda _: True), database=bank),
            first_delay_seconds=1,
            longest_delay_seconds=5,
        )
        publish(shop, events, "a:1")
        for longest in (1, 2, 4, 5, 5):
            relay.settle()
            delay = (outbox(shop)["a:1"].next_attempt_at - clock.now()).total_seconds()
            assert longest / 2 <= delay <= longest
            clock.advance(seconds=delay)

    def test_holds_its_aggregate_back_and_no_other(
        self,
        shop: Database,
        bank: Database,
        events: Events,
        relay_for: RelayFor,
        clock: ManualClock,
    ) -> None:
        ledger = Ledger(fails=lambda event: event == "a:1")
        relay = relay_for(reactions_of(ledger, database=bank))
        publish(shop, events, "a:1", "a:2", "b:1", "a:3", "b:2")
        relay.settle()
        assert effects(bank) == ["b:1", "b:2"]
        publish(shop, events, "a:4")
        relay.settle()
        assert effects(bank) == ["b:1", "b:2"]
        ledger.fails = lambda _: False
        clock.advance(seconds=10)
        relay.settle()
        assert effects(bank) == ["b:1", "b:2", "a:1", "a:2", "a:3", "a:4"]

    def test_hides_nobody_behind_a_long_row_of_those_who_wait(
        self,
        shop: Database,
        bank: Database,
        events: Events,
        relay_for: RelayFor,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("portico.events.lane._WINDOW", 3)
        relay = relay_for(reactions_of(Ledger(fails=lambda e: e == "a:1"), database=bank))
        publish(shop, events, "a:1", "a:2", "a:3", "a:4", "a:5", "b:1")
        relay.settle()
        assert effects(bank) == ["b:1"]

    def test_does_not_make_others_repeat_their_effect(
        self,
        shop: Database,
        bank: Database,
        events: Events,
        relay_for: RelayFor,
        clock: ManualClock,
    ) -> None:
        failing = Ledger("shop", fails=lambda _: True)
        relay = relay_for(
            reactions_of(Ledger("bank"), database=bank), reactions_of(failing, database=shop)
        )
        publish(shop, events, "a:1")
        for _ in range(3):
            relay.settle()
            clock.advance(seconds=100)
        failing.fails = lambda _: False
        relay.settle()
        assert effects(bank) == effects(shop) == ["a:1"]

    def test_for_good_is_given_up_recorded_and_passed_over(
        self,
        shop: Database,
        bank: Database,
        events: Events,
        relay_for: RelayFor,
        clock: ManualClock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        ledger = Ledger(fails=lambda event: event == "a:1")
        relay = relay_for(reactions_of(ledger, database=bank), max_attempts=3)
        publish(shop, events, "a:1", "a:2")
        for _ in range(3):
            relay.settle()
            clock.advance(seconds=100)
        relay.settle()
        row = outbox(shop)["a:1"]
        assert (row.attempts, relay.dead) == (3, 1)
        assert row.dead_at is not None
        assert row.delivered_at is None
        assert "is given up after 3 attempts: bank.Ledger.on_text" in caplog.text
        assert effects(bank) == ["a:2"]
        assert len(ledger.calls) == 4

    def test_to_read_its_event_fails_like_any_other(
        self, shop: Database, bank: Database, events: Events, relay_for: RelayFor
    ) -> None:
        publish(shop, events, "a:1")
        with shop.unit_of_work() as session:
            session.execute(text(r"UPDATE shop.outbox SET payload = '\xff'"))
        relay = relay_for(reactions_of(Ledger(), database=bank))
        relay.settle()
        assert relay.failed == 1

    def test_by_leaving_its_transaction_broken_has_no_effect(
        self, shop: Database, bank: Database, events: Events, relay_for: RelayFor
    ) -> None:
        class Careless:
            @reacts_to(StringValue)
            def on_text(self, event: StringValue, session: Connection) -> None:
                session.execute(text("INSERT INTO bank.effects (event) VALUES ('x')"))
                with pytest.raises(Exception, match="division"):
                    session.execute(text("SELECT 1 / 0"))

        publish(shop, events, "a:1")
        relay = relay_for(reactions_of(Careless(), database=bank))
        relay.settle()
        assert TransactionMisuseError.__name__ in outbox(shop)["a:1"].last_error
        assert effects(bank) == []


def test_a_transaction_that_takes_its_number_first_and_commits_last_is_not_skipped(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor
) -> None:
    relay = relay_for(reactions_of(Ledger(), database=bank))
    with shop.unit_of_work() as session:
        events.publish(session, StringValue(value="a:early"), aggregate_id="a")
        with entered(root()):
            publish(shop, events, "b:late")
        relay.settle()
        assert effects(bank) == ["b:late"]
    relay.settle()
    assert effects(bank) == ["b:late", "a:early"]


def test_a_crash_between_the_effect_and_the_mark_has_no_second_effect(
    shop: Database,
    bank: Database,
    events: Events,
    relay_for: RelayFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relay = relay_for(reactions_of(Ledger(), database=bank))
    publish(shop, events, "a:1", "a:2")
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "mark_delivered", _die)
        with pytest.raises(KeyboardInterrupt):
            relay.settle()
    assert effects(bank) == ["a:1", "a:2"]
    assert outbox(shop)["a:1"].delivered_at is None
    relay.settle()
    assert effects(bank) == ["a:1", "a:2"]
    assert outbox(shop)["a:1"].delivered_at is not None


def _die(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_batch_ends_in_time_and_the_rest_is_not_lost(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor
) -> None:
    relay = relay_for(reactions_of(Ledger(), database=bank), batch_seconds=0)
    publish(shop, events, "a:1", "a:2", "b:1")
    assert relay._deliver_some()
    assert effects(bank) == ["a:1"]
    relay.settle()
    assert effects(bank) == ["a:1", "a:2", "b:1"]


def test_an_event_that_waits_behind_one_that_committed_later_goes_on_waiting(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor, clock: ManualClock
) -> None:
    ledger = Ledger(fails=lambda event: event == "a:2")
    relay = relay_for(reactions_of(ledger, database=bank))
    with shop.unit_of_work() as session:
        events.publish(session, StringValue(value="a:1"), aggregate_id="a")
        with entered(root()):
            publish(shop, events, "a:2", "a:3")
        relay.settle()
    ledger.fails = lambda _: False
    relay.settle()
    assert effects(bank) == ["a:1"]
    clock.advance(seconds=10)
    relay.settle()
    assert effects(bank) == ["a:1", "a:2", "a:3"]


def test_two_relays_with_reactions_that_fail_at_random_keep_every_promise(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor, clock: ManualClock
) -> None:
    chance = Random(7)
    ledger = Ledger(fails=lambda _: chance.random() < 0.2)
    settings = {"max_attempts": 1000, "poll_seconds": 0.01, "aggregates_per_batch": 3}
    relays = [
        relay_for(reactions_of(ledger, database=bank), events_per_aggregate=2, **settings)
        for _ in range(2)
    ]
    expected = [f"{aggregate}:{number}" for number in range(12) for aggregate in "abcdefgh"]
    for relay in relays:
        relay.start()

    def write(aggregates: str) -> None:
        publish(shop, events, *(each for each in expected if each[0] in aggregates))

    writers = [threading.Thread(target=write, args=(each,)) for each in ("abcd", "efgh")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    until = time.monotonic() + 30
    while len(effects(bank)) < len(expected) and time.monotonic() < until:
        clock.advance(seconds=100)  # what failed is due again
        time.sleep(0.01)
    for relay in relays:
        relay.stop()

    assert Counter(effects(bank)) == Counter(expected)
    by_aggregate = defaultdict(list)
    for event in effects(bank):
        by_aggregate[event[0]].append(int(event.partition(":")[2]))
    assert all(numbers == list(range(12)) for numbers in by_aggregate.values())
    assert sum(relay.failed for relay in relays) > 0


def test_what_one_relay_delivers_another_leaves_alone(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor
) -> None:
    second = Ledger()

    def meanwhile(event: str) -> bool:
        if event == "a:1":
            with entered(root()):
                publish(shop, events, "b:1")
                while relay_for(reactions_of(second, database=bank))._deliver_some():
                    pass
        return False

    first = Ledger(fails=meanwhile)
    publish(shop, events, "a:1", "a:2")
    relay_for(reactions_of(first, database=bank)).settle()
    assert len(first.calls) == 2
    assert len(second.calls) == 1
    assert effects(bank) == ["a:1", "b:1", "a:2"]
    assert [row.attempts for row in outbox(shop).values()] == [0, 0, 0]


class TestInAThread:
    def test_it_is_woken_by_the_commit(
        self, shop: Database, bank: Database, events: Events, relay_for: RelayFor
    ) -> None:
        delivered = threading.Event()

        class Notice:
            @reacts_to(StringValue)
            def on_text(self, event: StringValue, session: Connection) -> None:
                delivered.set()

        relay = relay_for(reactions_of(Notice(), database=bank), poll_seconds=600)
        relay.start()
        publish(shop, events, "a:1")
        assert delivered.wait(10)
        relay.stop()

    def test_it_finds_by_itself_what_another_process_published(
        self,
        shop: Database,
        bank: Database,
        events: Events,
        relay_for: RelayFor,
        doorbell: Doorbell,
    ) -> None:
        publish(shop, events, "a:1")
        doorbell.wait(0)  # nobody here has heard of it
        delivered = threading.Event()

        class Notice:
            @reacts_to(StringValue)
            def on_text(self, event: StringValue, session: Connection) -> None:
                delivered.set()

        relay = relay_for(reactions_of(Notice(), database=bank), poll_seconds=0.01)
        relay.start()
        assert delivered.wait(10)
        relay.stop()

    def test_it_stops_after_the_reaction_that_runs(
        self, shop: Database, bank: Database, events: Events, relay_for: RelayFor
    ) -> None:
        running, proceed = threading.Event(), threading.Event()
        seen: list[str] = []

        class Slow:
            @reacts_to(StringValue)
            def on_text(self, event: StringValue, session: Connection) -> None:
                running.set()
                proceed.wait(10)
                seen.append(event.value)

        relay = relay_for(reactions_of(Slow(), database=bank))
        publish(shop, events, "a:1", "b:1", "c:1")
        relay.start()
        assert running.wait(10)
        stopper = threading.Thread(target=relay.stop)
        stopper.start()
        while not relay._here._stopping.is_set():
            time.sleep(0.001)
        proceed.set()
        stopper.join(10)
        assert not stopper.is_alive()
        assert seen == ["a:1"]
        rows = outbox(shop)
        assert rows["a:1"].delivered_at is not None
        assert rows["b:1"].delivered_at is None

    def test_it_survives_the_loss_of_its_connection(
        self, shop: Database, bank: Database, events: Events, relay_for: RelayFor, url: URL
    ) -> None:
        ledger = Ledger()
        relay = relay_for(reactions_of(ledger, database=bank), poll_seconds=0.01)
        cut = text(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE state = 'idle in transaction' AND datname = current_database() AND pid <> pg_backend_pid()"
        )

        def cut_once(event: str) -> bool:
            ledger.fails = lambda _: False
            with entered(root()), shop.reading() as session:
                session.execute(cut)  # both the claim's connection and the reaction's
            return False

        ledger.fails = cut_once
        publish(shop, events, "a:1", "a:2")
        relay.start()
        until = time.monotonic() + 20
        while effects(bank) != ["a:1", "a:2"] and time.monotonic() < until:
            time.sleep(0.01)
        relay.stop()
        assert effects(bank) == ["a:1", "a:2"]

    def test_settling_waits_for_it(
        self, shop: Database, bank: Database, events: Events, relay_for: RelayFor
    ) -> None:
        def slowly(event: str) -> bool:
            time.sleep(0.02)
            return False

        ledger = Ledger(fails=slowly)
        relay = relay_for(reactions_of(ledger, database=bank))
        relay.start()
        publish(shop, events, "a:1", "a:2", "a:3")
        relay.settle()
        assert effects(bank) == ["a:1", "a:2", "a:3"]
        relay.stop()


def test_settling_has_a_limit(
    shop: Database, bank: Database, events: Events, relay_for: RelayFor
) -> None:
    class Endless:
        @reacts_to(StringValue)
        def on_text(self, event: StringValue, session: Connection) -> None:
            with entered(root()):
                publish(shop, events, "a:more")

    publish(shop, events, "a:1")
    relay = relay_for(reactions_of(Endless(), database=bank))
    with pytest.raises(TimeoutError, match="still events to deliver"):
        relay.settle(timeout_seconds=0.05)


class TestReactions:
    def test_a_class_without_any_is_a_mistake(self, bank: Database) -> None:
        with pytest.raises(ValueError, match="has no method marked @reacts_to"):
            reactions_of(object(), database=bank)

    def test_two_of_one_name_are_a_mistake(self, bank: Database, relay_for: RelayFor) -> None:
        twice = reactions_of(Ledger(), database=bank)
        with pytest.raises(
            ValueError, match=r"module bank has two reactions called Ledger.on_text"
        ):
            relay_for(twice, twice)

    def test_two_modules_may_use_the_same_name(
        self, shop: Database, bank: Database, relay_for: RelayFor
    ) -> None:
        relay_for(reactions_of(Ledger(), database=bank), reactions_of(Ledger(), database=shop))

    def test_a_reaction_is_held_to_its_modules_schema(
        self, shop: Database, bank: Database, events: Events, relay_for: RelayFor
    ) -> None:
        publish(shop, events, "a:1")
        relay_for(reactions_of(Ledger("shop"), database=bank)).settle()
        assert "module bank names the schema shop" in outbox(shop)["a:1"].last_error


def test_ids_of_events_and_modules_are_those_of_the_publisher(
    shop: Database, clock: ManualClock, doorbell: Doorbell
) -> None:
    events = Events(shop, clock=clock, ids=Ids(clock=clock), doorbell=doorbell)
    with shop.unit_of_work() as session:
        first = events.publish(session, StringValue(value="a:1"), aggregate_id="a")
    assert str(outbox(shop)["a:1"].id) == first
