"""The time that a workflow has as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import grpc
import pytest

from portico.context import Call, Origin, entered
from portico.errors import StatusError
from portico.workflow import Step, Workflow
from tests.portico.workflow.shop import (
    Buying,
    DepotStub,
    Killed,
    Shop,
    diary,
    down,
    killed,
    violations,
)

MakeShop = Callable[..., Shop]


@pytest.fixture
def order() -> str:
    return str(uuid4())


def hurry(shop: Shop, *, seconds: float = 10) -> None:
    """Let what the shop runs from now on have so much time."""
    shop.workflow = replace(shop.workflow, name="shop.hurry", deadline_seconds=seconds)
    shop.workflows = shop.process()


def passing(shop: Shop, *, seconds: float) -> Callable[[Callable[[], object]], object]:
    """The call is made, and takes so long."""

    def slow(work: Callable[[], object]) -> None:
        work()
        shop.clock.advance(seconds=seconds)

    return slow


def too_late(shop: Shop, order: str) -> None:
    with pytest.raises(StatusError) as failure:
        shop.buy(order)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert failure.value.reason == "WORKFLOW_DEADLINE"


def test_a_run_in_time_is_done(shop: Shop, order: str) -> None:
    hurry(shop)
    shop.depot.faults = [passing(shop, seconds=9)]

    assert shop.buy(order).receipt


def test_a_run_that_takes_too_long_is_undone(shop: Shop, order: str) -> None:
    hurry(shop)
    shop.depot.faults = [passing(shop, seconds=10)]

    too_late(shop, order)

    assert violations(shop, order) == []
    assert diary(shop, order) == ["cancelled", "ordered"]
    assert shop.bank.requests == []


def test_all_steps_that_are_done_stay_done(shop: Shop, order: str) -> None:
    """Nobody takes back what lacks nothing but its last entry."""
    hurry(shop)
    shop.workflow = replace(shop.workflow, steps=list(shop.workflow.steps)[:-1])
    shop.workflows = shop.process()
    shop.bank.faults = [lambda work: work(), passing(shop, seconds=100)]

    assert shop.buy(order).receipt


def test_a_run_that_is_taken_up_too_late_is_undone(shop: Shop, order: str) -> None:
    hurry(shop)
    shop.depot.faults = [killed]
    with pytest.raises(Killed):
        shop.buy(order)

    assert shop.recover(seconds=100).undone == 1

    assert violations(shop, order) == []
    assert shop.run_of(order).error["reason"] == "WORKFLOW_DEADLINE"


def test_no_further_attempt_is_made_when_the_time_is_over(shop: Shop, order: str) -> None:
    hurry(shop)

    def slowly_down(work: Callable[[], object]) -> None:
        shop.clock.advance(seconds=100)
        down(work)

    shop.depot.faults = [slowly_down, *[down] * 2]
    too_late(shop, order)

    assert violations(shop, order) == []


def test_behind_its_pivot_a_run_goes_on_however_late(shop: Shop, order: str) -> None:
    steps = [
        Step("order", shop._order, pivot=True),
        Step("goods", shop._goods, at=DepotStub),
    ]
    late = Workflow("shop.late", 1, steps, subject=lambda state: state.order, deadline_seconds=10)
    shop.workflow = late
    shop.workflows = shop.process()
    shop.depot.faults = [killed]
    with pytest.raises(Killed):
        shop.buy(order)

    assert shop.recover(seconds=100).finished == 1
    assert diary(shop, order) == ["ordered"]


@pytest.fixture
def near(make_shop: MakeShop) -> Shop:
    """All of it in one process."""
    shop = make_shop(is_local=lambda _: True)
    for each in (shop.depot, shop.bank):
        each._call = lambda work: work()  # type: ignore[method-assign, assignment]  # they mind transactions
    shop.depot.do = shop.bank.do = lambda *_: None  # type: ignore[method-assign]
    return shop


def test_together_the_transaction_is_bounded(near: Shop, order: str) -> None:
    hurry(near, seconds=0.05)
    near.faults["announce"] = lambda: time.sleep(0.06)

    too_late(near, order)

    assert diary(near, order) == []


def test_together_a_statement_does_not_outlast_the_workflow(near: Shop, order: str) -> None:
    hurry(near, seconds=0.3)

    def sleep() -> None:
        with near.database.unit_of_work() as session:
            session.exec_driver_sql("SELECT pg_sleep(20)")

    near.faults["order"] = sleep
    too_late(near, order)

    assert diary(near, order) == []


def test_a_caller_whose_own_time_is_over_is_not_told_of_the_workflows(
    near: Shop, order: str
) -> None:
    hurry(near, seconds=60)
    near.faults["order"] = lambda: time.sleep(0.3)

    with (
        entered(Call(None, Origin.fresh(), "", "shop", "", time.monotonic() + 0.2, ())),
        pytest.raises(StatusError) as failure,
    ):
        near.buy(order)

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert failure.value.reason != "WORKFLOW_DEADLINE"


def test_a_run_that_is_late_before_it_begins_has_done_nothing(shop: Shop, order: str) -> None:
    hurry(shop, seconds=0.5)

    def ask(_: Callable[[], object]) -> None:
        shop.clock.advance(seconds=1)
        raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")

    shop.bank.faults = [ask] * 3
    too_late(shop, order)

    assert diary(shop, order) == []


def test_together_a_workflow_in_time_is_done(near: Shop, order: str) -> None:
    hurry(near, seconds=60)

    assert near.buy(order).receipt
    assert diary(near, order) == ["announced", "ordered"]


def test_a_workflow_without_any_time_is_refused(order: str) -> None:
    steps = [Step[Buying]("order", lambda _: None)]
    with pytest.raises(ValueError, match="no time"):
        Workflow("shop.never", 1, steps, deadline_seconds=0)
