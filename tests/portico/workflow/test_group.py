"""Steps of a workflow that do not depend on each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.context import Call, Identity, Origin, entered
from portico.errors import StatusError
from portico.workflow import Runs, Step, Workflow
from tests.portico.workflow.shop import (
    SETTINGS,
    BankStub,
    Buying,
    DepotStub,
    Fault,
    Killed,
    Neighbour,
    Shop,
    diary,
    down,
    killed,
    killed_after,
    lost,
    refused,
    shut,
    violations,
)

MakeShop = Callable[..., Shop]


@pytest.fixture
def order() -> str:
    return str(uuid4())


def abreast(shop: Shop, **changed: Any) -> Shop:
    """The shop, which takes the goods and the money at the same time."""
    price, first, goods, money, announce = shop.workflow.steps
    take, release = changed.get("goods", goods.action), changed.get("release", goods.undo)
    steps = [
        price,
        Step("order", first.action, changed.get("cancel", first.undo)),
        Step("goods", take, release, at=DepotStub, group="both"),
        Step("money", money.action, changed.get("void", money.undo), at=BankStub, group="both"),
        announce,
    ]
    shop.workflow = Workflow("shop.abreast", 1, steps, subject=lambda state: state.order)
    shop.workflows = shop.process()
    return shop


def works(work: Callable[[], object]) -> None:
    work()


def status_of(neighbour: Neighbour, order: str) -> str:
    """What has become of what the order wanted there."""
    with neighbour._database.reading() as session:
        statement = (
            f"SELECT status FROM {neighbour._database.schema}.things WHERE thing = %(order)s"
        )
        return str(session.exec_driver_sql(statement, {"order": order}).scalar_one())


def local(shop: Shop) -> Shop:
    """Its neighbours are called in its own transaction."""
    for each in (shop.depot, shop.bank):
        each._call = lambda work: work()  # type: ignore[method-assign, assignment]  # they mind transactions
        each.do = lambda *_: None  # type: ignore[method-assign]
    return shop


def test_steps_of_a_group_run_at_the_same_time(shop: Shop, order: str) -> None:
    both = threading.Barrier(2, timeout=10)

    def meet(work: Callable[[], object]) -> None:
        both.wait()
        work()

    abreast(shop)
    shop.depot.faults, shop.bank.faults = [meet], [lambda work: work(), meet]

    state = shop.buy(order)

    assert state == Buying(order, ["tea"], price=7, receipt=f"receipt of {order}")
    assert violations(shop, order) == []


def test_they_call_for_the_same_user(shop: Shop, order: str) -> None:
    abreast(shop)
    origin = Origin(Identity("usr_1", frozenset({"customer"})), "request-9", "0" * 31 + "1", "")
    with entered(Call(None, origin, "", "shop", "", None, ())):
        shop.buy(order)

    seen = {(*shop.depot.seen[-1],), (*shop.bank.seen[-1],)}
    assert seen == {(origin.identity, "request-9", "shop")}


@pytest.mark.parametrize("refusing", ["depot", "bank"])
def test_when_one_is_refused_all_are_undone(shop: Shop, order: str, refusing: str) -> None:
    abreast(shop)
    if refusing == "depot":
        shop.depot.faults = [refused]
    else:
        shop.bank.faults = [lambda work: work(), refused]

    with pytest.raises(StatusError) as failure:
        shop.buy(order)

    assert failure.value.reason == "SOLD_OUT"
    assert violations(shop, order) == []
    assert diary(shop, order) == ["cancelled", "ordered"]


def test_undos_of_a_group_run_at_the_same_time(shop: Shop, order: str) -> None:
    both = threading.Barrier(2, timeout=10)

    def meet(work: Callable[[], object]) -> None:
        both.wait()
        work()

    abreast(shop)
    shop.depot.faults, shop.bank.faults = [works, meet], [works, refused, meet]

    with pytest.raises(StatusError, match="there is none left"):
        shop.buy(order)

    assert not both.broken
    assert violations(shop, order) == []
    assert diary(shop, order) == ["cancelled", "ordered"]


@pytest.mark.parametrize("failing", ["depot", "bank"])
def test_an_undo_that_fails_keeps_no_other_of_its_group(
    shop: Shop, order: str, failing: str
) -> None:
    away = [down] * SETTINGS.step_attempts
    abreast(shop)
    shop.depot.faults = [works, *(away if failing == "depot" else [])]
    shop.bank.faults = [works, refused, *(away if failing == "bank" else [])]

    with pytest.raises(StatusError, match="there is none left"):
        shop.buy(order)

    assert (shop.run_of(order).status, diary(shop, order)) == ("RUNNING", ["ordered"])
    other = shop.bank if failing == "depot" else shop.depot
    assert status_of(other, order) == "undone"
    assert shop.recover().undone == 1
    assert violations(shop, order) == []


def test_what_undos_note_is_there_for_those_before_them(shop: Shop, order: str) -> None:
    seen: list[Buying] = []

    def release(state: Buying) -> None:
        seen.append(deepcopy(state))
        shop.depot.undo(state.order)
        state.goods, state.receipt = ["released"], "by the depot"

    def void(state: Buying) -> None:
        seen.append(deepcopy(state))
        shop.bank.undo(state.order)
        state.price, state.receipt = 0, "by the bank"

    def cancel(state: Buying) -> None:
        shop._cancel(state)
        seen.append(deepcopy(state))

    abreast(shop, release=release, void=void, cancel=cancel)
    shop.bank.faults = [works, refused]
    with pytest.raises(StatusError):
        shop.buy(order)

    *undos, before = seen
    assert undos == [Buying(order, ["tea"], price=7)] * 2
    # In reverse order the depot, which comes first, would have been the last to note.
    assert before == Buying(order, ["released"], price=0, receipt="by the depot")
    assert violations(shop, order) == []


@pytest.mark.parametrize("left", [3, 4], ids=["the first of them", "both"])
def test_a_run_that_was_half_way_back_through_its_group_goes_on(
    shop: Shop, order: str, left: int
) -> None:
    abreast(shop)
    shop.depot.faults = [works, killed]
    shop.bank.faults = [works, refused]
    with pytest.raises(Killed):
        shop.buy(order)
    with (
        shop.database.unit_of_work() as session
    ):  # as one that undid them in turn would have left it
        row = {"step": left, "order": order}
        session.exec_driver_sql(
            "UPDATE shop.workflow_runs SET step = %(step)s WHERE subject = %(order)s", row
        )

    assert shop.recover().undone == 1
    assert violations(shop, order) == []


def test_a_refusal_is_told_before_an_outage(shop: Shop, order: str) -> None:
    abreast(shop)
    shop.depot.faults = [down] * 3
    shop.bank.faults = [lambda work: work(), refused]

    with pytest.raises(StatusError) as failure:
        shop.buy(order)

    assert failure.value.reason == "SOLD_OUT"
    assert violations(shop, order) == []


def test_what_one_step_notes_the_other_does_not_see(shop: Shop, order: str) -> None:
    seen: list[str] = []
    paid = threading.Event()

    def goods(state: Buying) -> None:
        paid.wait(10)
        seen.append(state.receipt)
        state.goods.append("biscuits")

    def pay(work: Callable[[], object]) -> None:
        work()
        paid.set()

    abreast(shop, goods=goods)
    shop.bank.faults = [lambda work: work(), pay]
    state = shop.buy(order)

    assert seen == [""]
    assert (state.goods, state.receipt) == (["tea", "biscuits"], f"receipt of {order}")


def clash(state: Buying) -> None:
    state.receipt = "from the depot"


def test_two_steps_that_change_one_field_are_a_fault_and_undone(shop: Shop, order: str) -> None:
    abreast(shop, goods=clash)

    with pytest.raises(RuntimeError, match="goods and money of one group both change receipt"):
        shop.buy(order)

    assert violations(shop, order) == []
    assert diary(shop, order) == ["cancelled", "ordered"]


def test_together_they_run_in_turn_and_see_as_little(make_shop: MakeShop, order: str) -> None:
    shop = local(abreast(make_shop(is_local=lambda _: True)))
    state = shop.buy(order)
    assert state.receipt
    assert diary(shop, order) == ["announced", "ordered"]

    with pytest.raises(RuntimeError, match="both change receipt"):
        local(abreast(make_shop(is_local=lambda _: True), goods=clash)).buy(str(uuid4()))


def test_where_one_stays_in_the_process_both_are_transactions_of_their_own(
    make_shop: MakeShop, order: str
) -> None:
    shop = abreast(make_shop(is_local=lambda stub: stub is DepotStub))
    shop.bank.faults = [lambda work: work(), refused]

    with pytest.raises(StatusError):  # the depot minds transactions that are not its own
        shop.buy(order)

    assert violations(shop, order) == []


def test_a_run_that_ended_in_its_group_is_finished(shop: Shop, order: str) -> None:
    abreast(shop)
    shop.depot.faults = [killed_after]
    with pytest.raises(Killed):
        shop.buy(order)

    assert shop.recover().finished == 1
    assert violations(shop, order) == []


def test_a_fork_begins_with_the_first_step_of_a_group(shop: Shop, order: str) -> None:
    abreast(shop)
    shop.buy(order)
    runs, run_id = Runs([shop.workflows]), shop.run_of(order).id

    with pytest.raises(StatusError, match="first one of its group"):
        runs.fork(run_id, key="k", step="money")
    assert runs.fork(run_id, key="k", step="goods").next_step == "goods"
    assert shop.recover(seconds=0).finished == 1


_BEFALL = st.lists(
    st.sampled_from([lambda work: work(), down, lost, refused, shut, killed, killed_after]),
    max_size=6,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(depot=_BEFALL, bank=_BEFALL)
def test_whatever_befalls_a_group_a_run_ends_done_or_undone(
    shop: Shop, depot: list[Fault], bank: list[Fault]
) -> None:
    order = str(uuid4())
    abreast(shop)
    shop.depot.faults, shop.bank.faults = list(depot), list(bank)
    with suppress(Killed, StatusError):
        shop.buy(order)
    for _ in range(len(depot) + len(bank) + 2):
        with suppress(Killed):
            shop.recover()

    assert violations(shop, order) == []


def step(name: str, group: str, **options: Any) -> Step[Buying]:
    return Step(name, lambda _: None, group=group, **{"at": DepotStub, **options})


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([step("a", "g"), step("b", ""), step("c", "g")], "torn apart"),
        ([step("a", "g"), step("b", "g", at=None)], "step b, which is an own one"),
        ([step("a", "g", pivot=True)], "step a, which is an own one or a pivot"),
        ([step(str(number), "g") for number in range(9)], "more than 8"),
    ],
)
def test_a_group_that_cannot_be_is_refused(steps: list[Step[Buying]], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Workflow("shop.odd", 1, steps)
