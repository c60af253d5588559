"""Reactions in other processes: delivered over a socket, in order, once, whoever is away."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.type.money_pb2 import Money
from portico.v1 import events_service_pb2 as pb
from sqlalchemy import text

from portico import errors
from portico.clock import SystemClock
from portico.context import Identity, Origin, entered, root
from portico.events import Elsewhere, EventsServicer, Neighbour, Relay, inbox, reacts_to
from portico.events.provenance import Provenance
from portico.telemetry.metrics import Metrics
from tests.portico.events.nodes import Ledger, Node, delivering, serving, streaming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from portico.clock import ManualClock
    from portico.data import Engine
    from portico.events.streams import Streams

_State = pb.DeliverResponse.State
TEXT = "google.protobuf.StringValue"
LONG = 30.0


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("bank")


@pytest.fixture(params=["rpc", "redis"])
def streams(request: pytest.FixtureRequest) -> Iterator[Streams | None]:
    """How events go from process to process; None is by calls."""
    if request.param == "rpc":
        yield None
    else:
        with streaming(request.getfixturevalue("redis_url")) as streams:
            yield streams


@pytest.fixture
def shop(engine: Engine, clock: ManualClock) -> Node:
    return Node("shop", engine, clock=clock)


@pytest.fixture
def bank(engine: Engine, clock: ManualClock, ledger: Ledger, streams: Streams | None) -> Node:
    return Node("bank", engine, ledger, clock=clock, streams=streams)


@pytest.fixture
def both(shop: Node, bank: Node) -> Iterator[None]:
    """The shop publishes, the bank reacts."""
    bank.join(shop)
    shop.join(bank)
    with serving(shop, bank):
        yield


def pending(node: Node) -> list[Any]:
    return node.rows("SELECT event_id FROM {}.outbox_elsewhere WHERE delivered_at IS NULL")


def attempts(node: Node) -> list[int]:
    return node.rows("SELECT attempts FROM {}.outbox_elsewhere ORDER BY sequence")


def event(
    value: str, *, module: str = "bank", event_id: str = "", follow: bool = False
) -> pb.Event:
    found = pb.Event(
        id=event_id or str(uuid4()),
        module=module,
        type=TEXT,
        aggregate_type="shop",
        aggregate_id=value.partition(":")[0],
        payload=StringValue(value=value).SerializeToString(),
        request_id="r1",
        trace_id="1" * 32,
        follow=follow,
    )
    found.occurred_at.GetCurrentTime()
    return found


def states(response: pb.DeliverResponse) -> list[str]:
    return [_State.Name(outcome.state) for outcome in response.outcomes]


@pytest.mark.usefixtures("both")
class TestAReactionInAnotherProcess:
    def test_gets_each_event_once_and_in_order(self, shop: Node, bank: Node) -> None:
        shop.publish("a:1", "b:1", "a:2")
        shop.relay.settle()
        assert bank.effects() == ["a:1", "a:2", "b:1"]
        assert pending(shop) == []
        assert shop.relay.there["bank"].delivered == 3
        shop.relay.settle()
        assert bank.effects() == ["a:1", "a:2", "b:1"]

    def test_runs_for_the_one_who_asked(self, shop: Node, bank: Node, ledger: Ledger) -> None:
        origin = Origin(Identity("usr_1", frozenset({"customer"})), "request", "1" * 32, "2" * 16)
        call = root(module="shop")
        call.origin = origin
        with entered(call):
            shop.publish("a:1")
        shop.relay.settle()
        (seen,) = ledger.calls
        assert (seen.module, seen.caller, seen.parent) == ("bank", "shop", None)
        assert seen.identity == origin.identity
        assert (seen.request_id, seen.trace_id) == ("request", "1" * 32)
        assert seen.deadline is not None
        assert 0 < seen.deadline - time.monotonic() <= 12

    def test_that_fails_is_tried_again_later_and_holds_its_aggregate_back(
        self, shop: Node, bank: Node, ledger: Ledger, clock: ManualClock
    ) -> None:
        ledger.fails = lambda value: value == "a:1"
        shop.publish("a:1", "a:2", "b:1")
        shop.relay.settle()
        assert bank.effects() == ["b:1"]
        assert attempts(shop) == [1, 0, 0]
        assert shop.rows("SELECT last_error FROM {}.outbox_elsewhere ORDER BY sequence")[0] == (
            "bank.Ledger.on_text: RuntimeError: no a:1"
        )
        shop.publish("a:3")
        shop.relay.settle()
        assert bank.effects() == ["b:1"]
        ledger.fails = lambda _: False
        clock.advance(seconds=10)
        shop.relay.settle()
        assert bank.effects() == ["b:1", "a:1", "a:2", "a:3"]

    def test_that_fails_for_good_is_given_up_and_passed_over(
        self, shop: Node, bank: Node, ledger: Ledger, clock: ManualClock
    ) -> None:
        shop.relay = shop.new_relay(bank, max_attempts=2)
        ledger.fails = lambda value: value == "a:1"
        shop.publish("a:1", "a:2")
        for _ in range(3):
            shop.relay.settle()
            clock.advance(seconds=10)
        assert bank.effects() == ["a:2"]
        assert shop.relay.dead == 1
        assert len(shop.rows("SELECT 1 FROM {}.outbox_elsewhere WHERE dead_at IS NOT NULL")) == 1

    def test_does_not_see_an_event_that_was_rolled_back(self, shop: Node, bank: Node) -> None:
        with pytest.raises(RuntimeError), shop.database.unit_of_work() as session:
            shop.events.publish(session, StringValue(value="a:1"), aggregate_id="a")
            raise RuntimeError
        shop.relay.settle()
        assert bank.effects() == []

    def test_gets_what_fits_into_calls_of_bounded_size(self, shop: Node, bank: Node) -> None:
        shop.relay = shop.new_relay(bank, events_per_call=3)
        long = "x" * 400_000
        shop.publish(*(f"a:{number}{long}" for number in range(7)))
        shop.relay.settle()
        assert [each[2] for each in bank.effects()] == list("0123456")

    def test_never_gets_one_that_no_message_can_hold(
        self, shop: Node, bank: Node, caplog: pytest.LogCaptureFixture
    ) -> None:
        shop.relay = shop.new_relay(bank, max_attempts=1)
        shop.publish("a:1" + "x" * (4 * 1024 * 1024), "a:2")
        shop.relay.settle()
        assert bank.effects() == ["a:2"]
        assert "bytes are too many to send" in caplog.text


@pytest.mark.usefixtures("both")
class TestAProcessThatIsAway:
    def test_costs_no_attempt_and_gets_everything_when_it_is_back(
        self, shop: Node, bank: Node, clock: ManualClock
    ) -> None:
        shop.relay = shop.new_relay(bank, max_attempts=2)
        bank.vanish()
        shop.publish("a:1", "a:2", "b:1")
        for _ in range(5):
            shop.relay.settle()
            clock.advance(seconds=5)
        assert attempts(shop) == [0, 0, 0]
        assert (shop.relay.dead, shop.relay.there["bank"].unreachable) == (0, 5)
        assert shop.relay.waiting_for("bank") == 3
        assert shop.relay.lag_seconds("shop") == 25
        bank.come_back()

        def arrived() -> bool:
            clock.advance(seconds=5)
            shop.relay.settle()
            return len(bank.effects()) == 3

        assert eventually(arrived)
        assert bank.effects() == ["a:1", "a:2", "b:1"]
        assert shop.relay.waiting_for("bank") == 0
        assert shop.relay.lag_seconds() == 0

    def test_shows_in_the_metrics(self, shop: Node, bank: Node) -> None:
        metrics = Metrics()
        lane = shop.relay.there["bank"]
        lane.measure(metrics, process="bank", waiting=lambda: shop.relay.waiting_for("bank"))
        shop.publish("a:1")
        shop.relay.settle()
        bank.vanish()
        shop.publish("a:2", "a:3")
        shop.relay.settle()
        shown = metrics.render()[0].decode()
        assert 'portico_events_arrived_total{process="bank"} 1.0' in shown
        assert 'portico_events_waiting{process="bank"} 2.0' in shown
        assert 'portico_events_unreachable_total{process="bank"} 1.0' in shown

    def test_is_asked_less_and_less_often_up_to_a_limit(
        self, shop: Node, bank: Node, clock: ManualClock
    ) -> None:
        bank.vanish()
        shop.publish("a:1")
        lane, pauses = shop.relay.there["bank"], []
        for _ in range(9):
            shop.relay.settle()
            assert lane._paused_until is not None
            pause = lane._paused_until - clock.now()
            pauses.append(pause)
            clock.advance(seconds=pause.total_seconds())
        assert all(short < long for short, long in zip(pauses[:4], pauses[2:6], strict=True))
        assert max(pauses) <= timedelta(seconds=2)

    def test_is_waited_for_by_nobody(self, shop: Node, bank: Node) -> None:
        bank.vanish()
        with (
            delivering(shop.relay),
            entered(root()) as call,
            shop.doorbell.following.request(call.request_id) as wait,
        ):
            shop.publish("a:1")
            assert wait(LONG)
            shop.publish("a:2")
            assert wait(LONG)
        assert bank.effects() == []

    def test_recovers_by_itself(self, shop: Node, bank: Node, engine: Engine) -> None:
        shop = Node("shop", engine, clock=SystemClock()).join(bank, longest_pause_seconds=0.2)
        bank.vanish()
        with delivering(shop.relay):
            shop.publish("a:1", "a:2")
            assert eventually(lambda: shop.relay.there["bank"].unreachable > 2)
            bank.come_back()
            assert eventually(lambda: bank.effects() == ["a:1", "a:2"])
        shop.close()


class Till(Ledger):
    @reacts_to(Money)
    def on_money(self, event: Money, session: Connection) -> None:
        raise AssertionError("it was refused")


def test_what_a_process_refuses_waits_and_holds_up_nothing_else(
    engine: Engine, clock: ManualClock, streams: Streams | None
) -> None:
    shop = Node("shop", engine, clock=clock)
    bank = Node("bank", engine, Till("bank"), clock=clock, streams=streams).join()
    provenance = Provenance({"google.type": "bank"}, require_certificate=False)
    bank.receive(bank.relay.reception(provenance=provenance))
    shop.join(bank)
    with serving(shop, bank):
        with shop.database.unit_of_work() as session:
            shop.events.publish(session, Money(units=1), aggregate_id="till")
        shop.publish("a:1", "till:2")
        for _ in range(3):
            shop.relay.settle()
            clock.advance(seconds=1)
        assert bank.effects() == ["a:1"]
        assert attempts(shop) == [0, 0, 0]
        assert shop.relay.waiting_for("bank") == 2


class Gate:
    """A reaction that waits until it may go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.seen: list[str] = []

    @reacts_to(StringValue, in_transaction=False)
    def on_text(self, event: StringValue) -> None:
        self.entered.set()
        self.open.wait(LONG)
        self.seen.append(event.value)


class TestEachProcessHasALaneOfItsOwn:
    def test_so_that_a_slow_one_holds_up_neither_others_nor_reactions_here(
        self, engine: Engine, clock: ManualClock
    ) -> None:
        gate, here = Gate(), Ledger("shop")
        shop = Node("shop", engine, here, clock=clock)
        bank = Node("bank", engine, Ledger("bank"), clock=clock).join()
        post = Node("post", engine, gate, clock=clock).join()
        shop.join(bank, post)
        with serving(shop, bank, post), delivering(shop.relay):
            try:
                shop.publish("a:1")
                assert gate.entered.wait(LONG)
                shop.publish("a:2", "b:1")
                assert eventually(lambda: len(bank.effects()) == len(shop.effects()) == 3)
                assert bank.effects() == shop.effects() == ["a:1", "a:2", "b:1"]
                assert gate.seen == []
            finally:
                gate.open.set()
            assert eventually(lambda: gate.seen == ["a:1", "a:2", "b:1"])

    def test_so_that_one_that_is_away_holds_up_neither(
        self, engine: Engine, clock: ManualClock
    ) -> None:
        shop = Node("shop", engine, Ledger("shop"), clock=clock)
        bank = Node("bank", engine, Ledger("bank"), clock=clock).join()
        post = Node("post", engine, Ledger("post"), clock=clock).join()
        shop.join(bank, post)
        with serving(shop, bank, post):
            post.vanish()
            shop.publish("a:1", "a:2")
            shop.relay.settle()
            assert bank.effects() == shop.effects() == ["a:1", "a:2"]

    def test_so_that_a_reaction_that_fails_here_keeps_it_from_no_other_process(
        self, engine: Engine, clock: ManualClock
    ) -> None:
        shop = Node("shop", engine, Ledger("shop", fails=lambda _: True), clock=clock)
        bank = Node("bank", engine, Ledger("bank"), clock=clock).join()
        shop.join(bank, max_attempts=3)
        with serving(shop, bank):
            shop.publish("a:1")
            for _ in range(4):
                shop.relay.settle()
                clock.advance(seconds=10)
            assert bank.effects() == ["a:1"]
            assert shop.effects() == []
            assert shop.relay.dead == 1

    def test_so_that_a_stop_does_not_wait_for_a_slow_one(
        self, engine: Engine, clock: ManualClock, streams: Streams | None
    ) -> None:
        gate = Gate()
        shop = Node("shop", engine, clock=clock)
        post = Node("post", engine, gate, clock=clock, streams=streams).join()
        shop.join(post)
        with serving(shop, post):
            shop.relay.start()
            shop.publish("a:1")
            assert gate.entered.wait(LONG)
            shop.relay.stop()
            assert gate.seen == []
            assert len(pending(shop)) == 1
            gate.open.set()


def test_two_relays_and_reactions_that_fail_at_random_keep_every_promise(
    engine: Engine, clock: ManualClock, streams: Streams | None
) -> None:
    chance = Random(7)
    here = Ledger("shop", fails=lambda _: chance.random() < 0.1)
    shop = Node("shop", engine, here, clock=clock)
    there = Ledger("bank", fails=lambda _: chance.random() < 0.2)
    bank = Node("bank", engine, there, clock=clock, streams=streams).join()
    shop.join(bank)
    settings = {"max_attempts": 1000, "poll_seconds": 0.01, "aggregates_per_batch": 3}
    relays = [shop.new_relay(bank, events_per_call=4, **settings) for _ in range(2)]
    expected = [f"{aggregate}:{number}" for number in range(8) for aggregate in "abcdef"]
    with serving(shop, bank), delivering(*relays):
        shop.publish(*expected)
        bank.vanish()
        bank.come_back()

        def arrived() -> bool:
            clock.advance(seconds=100)  # what failed is due again
            return len(bank.effects()) >= len(expected) <= len(shop.effects())

        assert eventually(arrived)
    for effects in (bank.effects(), shop.effects()):
        assert Counter(effects) == Counter(expected)
        by_aggregate = defaultdict(list)
        for each in effects:
            by_aggregate[each[0]].append(int(each.partition(":")[2]))
        assert all(numbers == list(range(8)) for numbers in by_aggregate.values())
    assert sum(relay.failed for relay in relays) > 0


@pytest.mark.parametrize("streams", ["rpc"], indirect=True)
@pytest.mark.usefixtures("both")
class TestDeliver:
    def test_a_repeat_has_no_second_effect(self, bank: Node) -> None:
        request = pb.DeliverRequest(events=[event("a:1"), event("a:2")])
        assert states(bank.stub.Deliver(request)) == ["DONE", "DONE"]
        assert states(bank.stub.Deliver(request)) == ["DONE", "DONE"]
        assert bank.effects() == ["a:1", "a:2"]

    def test_without_the_inbox_a_repeat_would_be_seen(
        self, bank: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inbox, "received", lambda *_, **__: True)
        request = pb.DeliverRequest(events=[event("a:1")])
        bank.stub.Deliver(request)
        bank.stub.Deliver(request)
        assert bank.effects() == ["a:1", "a:1"]

    def test_an_aggregate_waits_behind_a_failure_and_no_other_does(
        self, bank: Node, ledger: Ledger
    ) -> None:
        ledger.fails = lambda value: value == "a:1"
        request = pb.DeliverRequest(events=[event("a:1"), event("b:1"), event("a:2")])
        response = bank.stub.Deliver(request)
        assert states(response) == ["FAILED", "DONE", "NOT_TRIED"]
        assert response.outcomes[0].error == "bank.Ledger.on_text: RuntimeError: no a:1"
        assert bank.effects() == ["b:1"]

    def test_what_is_for_a_module_that_is_not_here_is_not_swallowed(self, bank: Node) -> None:
        unknown = event("b:1")
        unknown.type = "google.protobuf.Int64Value"
        request = pb.DeliverRequest(events=[event("a:1", module="post"), unknown])
        assert states(bank.stub.Deliver(request)) == ["NOT_HERE", "NOT_HERE"]

    def test_the_rest_waits_when_the_time_of_the_call_is_over(self, bank: Node) -> None:
        bank.servicer._reception._batch_seconds = -1
        request = pb.DeliverRequest(events=[event("a:1"), event("b:1")])
        assert states(bank.stub.Deliver(request)) == ["DONE", "NOT_TRIED"]

    def test_an_event_that_cannot_be_read_fails_alone(self, bank: Node) -> None:
        broken = event("a:1")
        broken.payload = b"\xff"
        response = bank.stub.Deliver(pb.DeliverRequest(events=[broken, event("b:1")]))
        assert states(response) == ["FAILED", "DONE"]

    def test_a_reaction_gets_no_more_time_than_its_call_has_left(
        self, bank: Node, ledger: Ledger
    ) -> None:
        bank.stub.Deliver(pb.DeliverRequest(events=[event("a:1")]), timeout=3)
        (seen,) = ledger.calls
        assert seen.deadline is not None
        assert seen.deadline - time.monotonic() < 2.9

    @pytest.mark.parametrize(
        "request_of",
        [
            pb.DeliverRequest,
            lambda: pb.DeliverRequest(events=[event("a:1")] * 101),
            lambda: pb.DeliverRequest(events=[event("a:1", event_id="x")]),
            lambda: pb.DeliverRequest(events=[event("a:1", module="")]),
        ],
    )
    def test_what_no_relay_sends_is_refused(
        self, bank: Node, request_of: Callable[[], pb.DeliverRequest]
    ) -> None:
        with pytest.raises(grpc.RpcError) as refused:
            bank.stub.Deliver(request_of())
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_what_still_runs_for_a_sender_that_gave_up_is_not_overtaken(
    engine: Engine, clock: ManualClock
) -> None:
    gate = Gate()
    post = Node("post", engine, gate, clock=clock).join()
    first, second, other = (event(value, module="post") for value in ("a:1", "a:2", "b:1"))
    with serving(post):
        given_up = post.stub.Deliver.future(pb.DeliverRequest(events=[first]))
        assert gate.entered.wait(LONG)
        given_up.cancel()
        again = pb.DeliverRequest(events=[first, second])
        assert states(post.stub.Deliver(again)) == ["BUSY", "NOT_TRIED"]
        gate.open.set()
        assert states(post.stub.Deliver(pb.DeliverRequest(events=[other]))) == ["DONE"]
        assert eventually(lambda: "a:1" in gate.seen)
        assert eventually(lambda: states(post.stub.Deliver(again)) == ["DONE", "DONE"])
    assert sorted(gate.seen) == ["a:1", "a:2", "b:1"]
    assert gate.seen.index("a:1") < gate.seen.index("a:2")


class TestATopologyThatChanges:
    def test_an_event_for_a_module_that_is_not_there_yet_waits_without_an_attempt(
        self, engine: Engine, clock: ManualClock, streams: Streams | None
    ) -> None:
        shop = Node("shop", engine, clock=clock)
        bank = Node("bank", engine, clock=clock, streams=streams)  # its reactions are not there yet
        carrier = bank.neighbour().carrier
        expecting = Neighbour("bank", bank.stub, reacts={"bank": [TEXT]}, carrier=carrier)
        bank.join()
        shop.relay = Relay(
            [shop.database],
            (),
            clock=clock,
            doorbell=shop.doorbell,
            elsewhere=Elsewhere([expecting]),
        )
        shop.servicer = EventsServicer(shop.relay.reception())
        with serving(shop, bank):
            shop.publish("a:1")
            shop.relay.settle()
            assert attempts(shop) == [0]
            assert len(pending(shop)) == 1
            bank.vanish()
            moved = Node("bank", engine, Ledger("bank"), clock=clock).join()
            bank.receive(moved.reception)
            bank.come_back()

            def arrived() -> bool:
                clock.advance(seconds=5)
                shop.relay.settle()
                return bank.effects() == ["a:1"]

            assert eventually(arrived)
            moved.close()

    def test_what_a_module_has_failed_on_reaches_it_where_it_is_now(
        self, engine: Engine, clock: ManualClock
    ) -> None:
        ledger = Ledger("bank", fails=lambda _: True)
        shop = Node("shop", engine, clock=clock)
        bank = Node("bank", engine, ledger, clock=clock).join()
        together = Relay(
            [shop.database], bank.reactions, clock=clock, doorbell=shop.doorbell, random=Random(1)
        )
        shop.publish("a:1")
        together.settle()
        assert together.failed == 1
        ledger.fails = lambda _: False
        clock.advance(seconds=10)
        shop.join(bank)
        with serving(shop, bank):
            shop.relay.settle()
            assert bank.effects() == ["a:1"]

    def test_what_was_on_its_way_to_a_module_that_is_here_now_comes_back_in_order(
        self, engine: Engine, clock: ManualClock
    ) -> None:
        shop = Node("shop", engine, clock=clock)
        bank = Node("bank", engine, Ledger("bank"), clock=clock).join()
        shop.join(bank)
        with serving(shop, bank):
            bank.vanish()
            shop.publish("a:1", "a:2")
            shop.relay.settle()
            assert len(pending(shop)) == 2
            shop.publish("a:3")
            together = Relay(
                [shop.database, bank.database],
                bank.reactions,
                clock=clock,
                doorbell=shop.doorbell,
            )
            together.settle()
            assert bank.effects() == ["a:1", "a:2", "a:3"]
            assert pending(shop) == []

    def test_what_a_module_does_not_react_to_any_more_is_done(
        self, engine: Engine, clock: ManualClock
    ) -> None:
        shop = Node("shop", engine, clock=clock)
        bank = Node("bank", engine, Ledger("bank"), clock=clock).join()
        shop.join(bank)
        with serving(shop, bank):
            bank.vanish()
            shop.publish("a:1")
            shop.relay.settle()
            clock.advance(seconds=5)
            quiet = Neighbour("bank", bank.stub, reacts={"bank": ["google.protobuf.Int64Value"]})
            shop.relay = Relay(
                [shop.database],
                (),
                clock=clock,
                doorbell=shop.doorbell,
                elsewhere=Elsewhere([quiet]),
            )
            shop.relay.settle()
            assert pending(shop) == []
            assert bank.effects() == []

    def test_a_module_in_two_other_processes_is_a_mistake(
        self, engine: Engine, clock: ManualClock
    ) -> None:
        bank = Node("bank", engine, Ledger("bank"), clock=clock)
        first = bank.neighbour()
        second = Neighbour("vault", bank.stub, reacts={"bank": [TEXT]})
        with pytest.raises(ValueError, match="module bank is in two other processes"):
            Elsewhere([first, second])
        bank.close()


def test_an_event_that_nobody_anywhere_reacts_to_is_done_at_once(
    engine: Engine, clock: ManualClock
) -> None:
    shop = Node("shop", engine, clock=clock)
    bank = Node("bank", engine, Ledger("bank"), clock=clock).join()
    shop.join(bank)
    with serving(shop, bank), shop.database.unit_of_work() as session:
        session.execute(text("SELECT 1"))
    with shop.database.unit_of_work() as session:
        shop.events.publish(session, pb.FollowRequest(request_id="r"), aggregate_id="a")
    shop.relay.settle()
    assert shop.rows("SELECT 1 FROM {}.outbox WHERE delivered_at IS NOT NULL") == [1]
    assert shop.rows("SELECT event_id FROM {}.outbox_elsewhere") == []


def test_what_goes_on_in_another_process_costs_no_attempt(
    engine: Engine, clock: ManualClock, streams: Streams | None
) -> None:
    class Starter:
        def __init__(self) -> None:
            self.goes_on = True

        @reacts_to(StringValue, in_transaction=False)
        def on_text(self, event: StringValue) -> None:
            if self.goes_on:
                raise errors.aborted("WORKFLOW_RUNNING", "it goes on by itself")

    starter = Starter()
    shop = Node("shop", engine, clock=clock)
    bank = Node("bank", engine, starter, clock=clock, streams=streams).join(shop)
    shop.join(bank)
    with serving(shop, bank):
        shop.publish("a:1")
        for _ in range(15):
            shop.relay.settle()
            clock.advance(seconds=60)
        assert attempts(shop) == [0]
        assert len(pending(shop)) == 1
        starter.goes_on = False
        shop.relay.settle()
        assert pending(shop) == []
