"""Runs that wait for something from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import grpc
import pytest

from portico.context import current
from portico.data import TransactionMisuseError
from portico.errors import StatusError
from portico.workflow import Recovery, Runs, Step, Wait, Workflow
from portico.workflow.standing import Standing
from tests.portico.workflow.shop import (
    SETTINGS,
    Buying,
    DepotStub,
    Killed,
    Shop,
    diary,
    killed_after,
    violations,
)

MakeShop = Callable[..., Shop]


@pytest.fixture
def order() -> str:
    return str(uuid4())


def note(state: Buying, value: str) -> None:
    state.receipt = value


def patient(
    shop: Shop, *, name: str = "shop.patient", late: Callable[[Buying], None] | None = None
) -> Shop:
    """The shop, which takes the order, waits for the money, and then asks for the goods."""
    steps = [
        Step("order", shop._order, undo=shop._cancel),
        Wait("paid", seconds=60, take=note, late=late),
        Step("note", lambda state: shop._write(state, "paid"), undo=lambda _: None),
        Step("goods", shop._goods, undo=shop._release, at=DepotStub),
        Step("announce", shop._announce),
    ]
    shop.workflow = Workflow(name, 1, steps, subject=lambda state: state.order)
    shop.workflows = shop.process()
    return shop


@pytest.fixture
def waiting(shop: Shop) -> Shop:
    return patient(shop)


def parks(shop: Shop, order: str) -> None:
    with pytest.raises(StatusError) as failure:
        shop.buy(order)
    assert failure.value.code() is grpc.StatusCode.ABORTED
    assert failure.value.reason == "WORKFLOW_RUNNING"


def pay(shop: Shop, order: str, value: str = "receipt") -> bool:
    return shop.workflows.signal(shop.workflow, key=order, name="paid", value=value)


def test_a_run_is_left_at_its_wait_and_goes_on_when_it_is_over(waiting: Shop, order: str) -> None:
    parks(waiting, order)
    run = waiting.run_of(order)
    assert (run.status, run.step, run.owner) == ("RUNNING", 1, "")
    assert waiting.recover(seconds=30).finished == 0
    assert diary(waiting, order) == ["ordered"]

    assert pay(waiting, order)
    assert waiting.recover(seconds=0).finished == 1

    assert diary(waiting, order) == ["announced", "ordered", "paid"]
    assert waiting.buy(order).receipt == "receipt"
    assert not pay(waiting, order)  # it has ended


def test_a_repeat_does_not_wait_for_a_run_that_waits(make_shop: MakeShop, order: str) -> None:
    shop = patient(make_shop(settings=replace(SETTINGS, wait_seconds=3600)))
    parks(shop, order)
    parks(shop, order)

    assert pay(shop, order)
    assert shop.recover(seconds=0).finished == 1


def test_nothing_is_waited_for_that_has_come_before(waiting: Shop, order: str) -> None:
    waiting.faults["order"] = lambda: None
    steps = list(waiting.workflow.steps)
    steps.insert(1, Step("early", waiting._goods, undo=waiting._release, at=DepotStub))
    waiting.workflow = replace(waiting.workflow, name="shop.early", steps=steps)
    waiting.workflows = waiting.process()

    def paid_meanwhile(work: Callable[[], object]) -> None:
        work()
        assert pay(waiting, order)

    waiting.depot.faults = [paid_meanwhile]

    assert waiting.buy(order).receipt == "receipt"


def test_the_first_signal_counts(waiting: Shop, order: str) -> None:
    parks(waiting, order)

    assert pay(waiting, order, "first")
    assert pay(waiting, order, "second")
    waiting.recover(seconds=0)

    assert waiting.buy(order).receipt == "first"


def test_a_signal_that_is_rolled_back_has_not_come(waiting: Shop, order: str) -> None:
    parks(waiting, order)

    with pytest.raises(Killed), waiting.database.unit_of_work():
        pay(waiting, order)
        raise Killed

    assert waiting.recover(seconds=0).finished == 0
    assert pay(waiting, order)
    assert waiting.recover(seconds=0).finished == 1


def test_a_run_that_waited_in_vain_is_undone(waiting: Shop, order: str) -> None:
    parks(waiting, order)
    assert waiting.recover(seconds=59).undone == 0

    assert waiting.recover(seconds=2).undone == 1

    assert violations(waiting, order) == []
    assert diary(waiting, order) == ["cancelled", "ordered"]
    error = waiting.run_of(order).error
    assert (error["reason"], error["metadata"]["wait"]) == ("WORKFLOW_WAIT_OVER", "paid")
    assert not pay(waiting, order)


def test_a_run_that_may_be_late_goes_on_without(shop: Shop, order: str) -> None:
    patient(shop, name="shop.lenient", late=lambda state: note(state, "on account"))
    parks(shop, order)

    assert shop.recover(seconds=61).finished == 1

    assert shop.buy(order).receipt == "on account"


def test_a_signal_in_time_counts_though_it_is_seen_late(waiting: Shop, order: str) -> None:
    parks(waiting, order)
    assert pay(waiting, order)

    assert waiting.recover(seconds=1000).finished == 1


def test_the_limit_does_not_begin_anew_when_a_run_is_looked_at(waiting: Shop, order: str) -> None:
    parks(waiting, order)
    waiting.clock.advance(seconds=40)
    Runs([waiting.workflows]).retry(waiting.run_of(order).id)
    assert waiting.recover(seconds=0).undone == 0

    assert waiting.recover(seconds=21).undone == 1


def test_the_deadline_of_the_workflow_ends_a_wait(waiting: Shop, order: str) -> None:
    waiting.workflow = replace(waiting.workflow, name="shop.brief", deadline_seconds=10)
    waiting.workflows = waiting.process()
    parks(waiting, order)

    assert waiting.recover(seconds=11).undone == 1
    assert waiting.run_of(order).error["reason"] == "WORKFLOW_DEADLINE"


def test_a_run_that_waits_can_be_cancelled(waiting: Shop, order: str) -> None:
    parks(waiting, order)
    record = Runs([waiting.workflows]).cancel(waiting.run_of(order).id)

    assert record.next_step == "order"
    assert waiting.recover(seconds=0).undone == 1
    assert diary(waiting, order) == ["cancelled", "ordered"]


def test_a_run_behind_its_wait_is_finished_after_a_crash(waiting: Shop, order: str) -> None:
    parks(waiting, order)
    pay(waiting, order)
    waiting.depot.faults = [killed_after]
    with pytest.raises(Killed):
        waiting.recover(seconds=0)

    assert waiting.recover().finished == 1
    assert violations_but_for_the_bank(waiting, order) == []


def violations_but_for_the_bank(shop: Shop, order: str) -> list[str]:
    expected = ["announced", "ordered", "paid"]
    return [] if diary(shop, order) == expected else [str(diary(shop, order))]


def test_a_wait_splits_what_is_together_into_transactions(make_shop: MakeShop, order: str) -> None:
    shop = make_shop(is_local=lambda _: True)
    shop.depot._call = lambda work: work()  # type: ignore[method-assign, assignment]  # it minds transactions
    transactions: list[Any] = []
    shop._goods = lambda _: transactions.append(current().transaction)  # type: ignore[method-assign, assignment]
    patient(shop, name="shop.near")

    assert shop.workflows.strategy(shop.workflow) == "apart"
    parks(shop, order)
    assert diary(shop, order) == ["ordered"]  # which has committed
    pay(shop, order)
    shop.recover(seconds=0)

    assert diary(shop, order) == ["announced", "ordered", "paid"]
    assert transactions[0] is not None  # its neighbours are in it
    with pytest.raises(TransactionMisuseError), shop.database.unit_of_work():
        shop.buy(str(uuid4()))


@pytest.mark.parametrize("first", ["run", "signal"])
def test_no_run_sleeps_through_its_signal(
    waiting: Shop, order: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes between the look at what has come and the entry that the run waits."""
    park = Standing.park
    noted, done = threading.Event(), threading.Event()

    def signalling() -> None:
        with waiting.database.unit_of_work():
            assert pay(waiting, order)
            noted.set()
            done.wait(0.2 if first == "signal" else 0)

    def late(self: Standing[Any], *arguments: Any, **named: Any) -> bool:
        monkeypatch.setattr(Standing, "park", park)
        thread = threading.Thread(target=signalling)
        thread.start()
        if first == "signal":
            noted.wait(10)  # but not committed: the run must wait for it
        else:
            thread.join(10)
        try:
            return park(self, *arguments, **named)
        finally:
            thread.join(10)

    monkeypatch.setattr(Standing, "park", late)

    assert waiting.buy(order).receipt == "receipt"


def test_recovery_hears_a_signal_at_once(waiting: Shop, order: str) -> None:
    parks(waiting, order)
    recovery = Recovery(
        [waiting.workflows], settings=replace(SETTINGS, poll_seconds=3600, threads=1)
    )
    recovery.start()
    try:
        pay(waiting, order)
        until = time.monotonic() + 30
        while waiting.run_of(order).status != "DONE" and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        recovery.stop()

    assert waiting.run_of(order).status == "DONE"


def test_whoever_signals_has_to_know_the_wait(waiting: Shop, order: str) -> None:
    with pytest.raises(ValueError, match="has no wait announce"):
        waiting.workflows.signal(waiting.workflow, key=order, name="announce")
    assert not pay(waiting, order)  # nothing has begun


def test_recovery_says_that_there_is_no_table_for_waits(
    waiting: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with waiting.database.unit_of_work() as session:
        session.exec_driver_sql("ALTER TABLE shop.workflow_waits RENAME TO hidden")
    try:
        recovery = Recovery([waiting.workflows])
        recovery.start()
        recovery.stop()
    finally:
        with waiting.database.unit_of_work() as session:
            session.exec_driver_sql("ALTER TABLE shop.hidden RENAME TO workflow_waits")

    assert "no table of waits" in caplog.text


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: Wait[Buying]("paid"), "no time"),
        (lambda: Wait[Buying]("paid", seconds=1, at=DepotStub), "nothing but wait"),
        (lambda: Wait[Buying]("paid", seconds=1, pivot=True), "nothing but wait"),
        (
            lambda: Workflow(
                "shop.odd",
                1,
                [Step("order", lambda _: None, pivot=True), Wait[Buying]("paid", seconds=1)],
            ),
            "needs something for late",
        ),
    ],
)
def test_a_wait_that_cannot_be_is_refused(make: Callable[[], object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        make()
