"""Runs whose process ended half way, at every place where it can."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.context import entered, root
from portico.data import on_commit
from portico.errors import StatusError
from portico.workflow import Recovery, Step, Workflow
from tests.portico.workflow.shop import (
    SETTINGS,
    Buying,
    Fault,
    Killed,
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


REMOVALS_ARE_COUNTED = """
CREATE FUNCTION shop.count_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shop.removals VALUES (txid_current());
    RETURN NULL;
END $$
"""


def works(work: Callable[[], object]) -> None:
    work()


def kill() -> None:
    raise Killed


def kill_after_commit(shop: Shop) -> Callable[[], None]:
    """The process ends when its transaction has committed and it does not know yet."""

    def plant() -> None:
        with shop.database.unit_of_work() as session:
            on_commit(session, kill)

    return plant


def ends(shop: Shop, order: str) -> None:
    """Buy in a process that ends on the way."""
    with pytest.raises(Killed):
        shop.buy(order)


FORWARD = {
    "while it asks for the price": lambda shop: shop.bank.faults.append(killed),
    "with the price": lambda shop: shop.bank.faults.append(killed_after),
    "before the first commit": lambda shop: shop.faults.update(order=kill),
    "after the first commit": lambda shop: shop.faults.update(order=kill_after_commit(shop)),
    "before the goods": lambda shop: shop.depot.faults.append(killed),
    "after the goods": lambda shop: shop.depot.faults.append(killed_after),
    "after a lost answer": lambda shop: shop.depot.faults.extend([lost, killed]),
    "before the money": lambda shop: shop.bank.faults.extend([works, killed]),
    "after the money": lambda shop: shop.bank.faults.extend([works, killed_after]),
    "before the last commit": lambda shop: shop.faults.update(announce=kill),
    "after the last commit": lambda shop: shop.faults.update(announce=kill_after_commit(shop)),
}


def refuse_money(shop: Shop) -> None:
    shop.bank.faults.extend([works, refused])


def maybe_money(shop: Shop) -> None:
    shop.bank.faults.extend([works, lost, *[lost] * 2])


BACKWARD = {
    "before the money is given back": lambda shop: shop.bank.faults.append(killed),
    "after the money is given back": lambda shop: shop.bank.faults.append(killed_after),
    "before the goods are given back": lambda shop: shop.depot.faults.extend([works, killed]),
    "after the goods are given back": lambda shop: shop.depot.faults.extend([works, killed_after]),
    "before the cancellation": lambda shop: shop.faults.update(cancel=kill),
    "after the cancellation": lambda shop: shop.faults.update(cancel=kill_after_commit(shop)),
}
UNDOING = [
    (way, place)
    for way, place in product(("refused", "maybe"), BACKWARD)
    if way == "maybe" or "money" not in place
]


@pytest.fixture
def order() -> str:
    return str(uuid4())


@pytest.mark.parametrize("place", FORWARD)
def test_a_run_that_ended_going_forward_is_finished(shop: Shop, order: str, place: str) -> None:
    FORWARD[place](shop)
    ends(shop, order)
    begun = shop.rows("SELECT FROM shop.workflow_runs WHERE subject = :order", order=order)

    shop.recover()

    assert violations(shop, order) == []
    assert diary(shop, order) == (["announced", "ordered"] if begun else [])
    if begun:
        assert len(set(shop.depot.requests)) <= 1
        assert shop.buy(order).receipt == f"receipt of {order}"


@pytest.mark.parametrize(("way", "place"), UNDOING)
def test_a_run_that_ended_going_back_is_undone(
    shop: Shop, order: str, way: str, place: str
) -> None:
    (refuse_money if way == "refused" else maybe_money)(shop)
    BACKWARD[place](shop)
    ends(shop, order)

    shop.recover()

    assert violations(shop, order) == []
    assert diary(shop, order) == ["cancelled", "ordered"]
    assert shop.run_of(order).status == "UNDONE"


@pytest.mark.parametrize("first", ["after the first commit", "after the goods", "after the money"])
@pytest.mark.parametrize("second", [killed, killed_after])
def test_recovery_itself_may_end_half_way(
    shop: Shop, order: str, first: str, second: Fault
) -> None:
    FORWARD[first](shop)
    ends(shop, order)
    shop.depot.faults.append(second)
    with pytest.raises(Killed):
        shop.recover()

    shop.recover()

    assert violations(shop, order) == []
    assert diary(shop, order) == ["announced", "ordered"]


def test_what_is_refused_to_recovery_is_undone_by_it(shop: Shop, order: str) -> None:
    shop.depot.faults.append(killed_after)
    ends(shop, order)
    shop.bank.faults.append(refused)

    recovery = shop.recover()

    assert (recovery.finished, recovery.undone) == (0, 1)
    assert violations(shop, order) == []


def test_nobody_takes_a_run_whose_lease_has_not_ended(shop: Shop, order: str) -> None:
    shop.depot.faults.append(killed)
    ends(shop, order)

    recovery = shop.recover(seconds=SETTINGS.lease_seconds - 0.1)

    assert recovery.finished == 0
    assert shop.run_of(order).attempts == 0
    assert shop.recover(seconds=0.2).finished == 1


def test_who_lost_the_lease_commits_nothing(shop: Shop, order: str) -> None:
    """A process that stood still while another one finished its run."""

    def stand_still(work: Callable[[], object]) -> None:
        work()
        shop.recover()

    shop.bank.faults.extend([works, stand_still])

    state = shop.buy(order)

    assert state.receipt == f"receipt of {order}"
    assert diary(shop, order) == ["announced", "ordered"]
    assert violations(shop, order) == []


def test_a_refusal_is_not_told_by_who_lost_the_lease(shop: Shop, order: str) -> None:
    """The other process was not refused."""

    def stand_still(work: Callable[[], object]) -> None:
        shop.recover()
        refused(work)

    shop.bank.faults.extend([works, stand_still])

    assert shop.buy(order).receipt == f"receipt of {order}"
    assert violations(shop, order) == []


def test_a_refusal_is_not_told_before_it_is_written_down(shop: Shop, order: str) -> None:
    def fail() -> None:
        raise KeyError("a mistake")

    shop.depot.faults.append(refused)
    shop.faults["cancel"] = fail
    with pytest.raises(StatusError, match="WORKFLOW_RUNNING"):
        shop.buy(order)

    assert shop.recover(seconds=1).finished == 1  # not refused any more
    assert violations(shop, order) == []
    assert shop.buy(order).receipt


def test_many_recoveries_at_once_finish_each_run_once(shop: Shop) -> None:
    orders = [str(uuid4()) for _ in range(30)]
    for number, order in enumerate(orders):
        (shop.depot if number % 2 else shop.bank).faults.extend(
            [killed_after] if number % 2 else [works, killed_after]
        )
        ends(shop, order)
    shop.clock.advance(seconds=100)
    recoveries = [Recovery([shop.process()], settings=SETTINGS) for _ in range(4)]

    threads = [threading.Thread(target=recovery.settle) for recovery in recoveries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(recovery.finished for recovery in recoveries) == len(orders)
    assert [found for order in orders for found in violations(shop, order)] == []


def test_recovery_works_by_itself_until_it_is_stopped(shop: Shop, order: str) -> None:
    shop.depot.faults.append(killed)
    ends(shop, order)
    shop.clock.advance(seconds=100)
    recovery = Recovery([shop.process()], settings=SETTINGS)
    done = threading.Event()
    shop.faults["announce"] = done.set

    recovery.start()
    assert done.wait(10)
    recovery.stop()

    assert recovery.finished == 1
    assert not recovery._threads
    assert violations(shop, order) == []


def test_a_run_of_a_version_that_is_gone_is_left_alone_and_told(
    shop: Shop, order: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop.depot.faults.append(killed)
    ends(shop, order)
    steps = shop.workflow.steps
    shop.workflow = Workflow("shop.buy", 2, steps, subject=lambda state: state.order)

    recovery = shop.recover()
    recovery.keep_house()

    assert recovery.orphans == 1
    assert "1 runs of shop.buy version 1" in caplog.text
    assert (shop.run_of(order).attempts, shop.run_of(order).status) == (0, "RUNNING")
    shop.workflow = Workflow("shop.buy", 1, steps, subject=lambda state: state.order)
    assert shop.recover().finished == 1


def test_what_ended_long_ago_is_forgotten(shop: Shop, order: str) -> None:
    shop.buy(order)
    shop.clock.advance(seconds=SETTINGS.keep_seconds - 1)
    shop.recover(seconds=0).keep_house()
    assert shop.run_of(order).status == "DONE"

    shop.recover(seconds=2).keep_house()

    assert shop.rows("SELECT FROM shop.workflow_runs WHERE subject = :order", order=order) == []


def test_it_is_forgotten_in_small_pieces(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction holds what it removes for long."""
    shop.recover(seconds=SETTINGS.keep_seconds + 1).keep_house()
    for _ in range(5):
        shop.buy()
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql("CREATE TABLE shop.removals (transaction bigint)")
        session.exec_driver_sql(REMOVALS_ARE_COUNTED)
        session.exec_driver_sql(
            "CREATE TRIGGER count_removal AFTER DELETE ON shop.workflow_runs "
            "FOR EACH ROW EXECUTE FUNCTION shop.count_removal()"
        )
    monkeypatch.setattr("portico.workflow.recovery._MOST_PURGED", 2)

    shop.recover(seconds=SETTINGS.keep_seconds + 1).keep_house()

    counts = shop.rows("SELECT count(*) AS n FROM shop.removals GROUP BY transaction")
    assert max(row.n for row in counts) == 2
    assert sum(row.n for row in counts) >= 5
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql("DROP TRIGGER count_removal ON shop.workflow_runs")


def test_runs_from_before_a_move_are_finished_where_all_is_together_again(
    make_shop: MakeShop, order: str
) -> None:
    before = make_shop()
    before.depot.faults.append(killed)
    ends(before, order)
    after = make_shop(is_local=lambda _: True)
    after.depot.do = after.bank.do = lambda *_: None  # type: ignore[method-assign]  # they mind transactions

    assert after.recover(seconds=100).finished == 1
    assert diary(after, order) == ["announced", "ordered"]


def test_what_was_done_elsewhere_before_a_move_is_undone_when_the_rest_is_refused(
    make_shop: MakeShop, order: str
) -> None:
    before = make_shop()
    before.bank.faults.extend([works, killed])
    ends(before, order)
    assert before.depot.requests
    after = make_shop(is_local=lambda _: True)
    for each in (after.depot, after.bank):
        each._call = lambda work: work()  # type: ignore[method-assign, assignment]  # they mind transactions
    after.depot.do = lambda *_: None  # type: ignore[method-assign]
    after.bank.do = lambda *_: refused(lambda: None)  # type: ignore[method-assign]

    assert after.recover(seconds=100).undone == 1
    assert violations(after, order) == []


_BEFALL = st.lists(
    st.sampled_from([works, works, works, down, lost, refused, shut, killed, killed_after]),
    max_size=8,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    depot=_BEFALL,
    bank=_BEFALL,
    own=st.dictionaries(st.sampled_from(["order", "cancel", "announce"]), st.booleans()),
)
def test_whatever_befalls_it_a_run_ends_done_or_undone(
    shop: Shop, depot: list[Fault], bank: list[Fault], own: dict[str, bool]
) -> None:
    order = str(uuid4())
    shop.depot.faults, shop.bank.faults = list(depot), list(bank)
    shop.faults = {place: kill_after_commit(shop) if late else kill for place, late in own.items()}
    with suppress(Killed, StatusError):
        shop.buy(order)

    for _ in range(len(depot) + len(bank) + len(own) + 2):
        with suppress(Killed):
            shop.recover()

    assert violations(shop, order) == []


def test_a_run_whose_state_its_version_cannot_read_is_given_up(shop: Shop, order: str) -> None:
    shop.depot.faults.append(killed)
    ends(shop, order)
    with shop.database.unit_of_work() as session:
        row = {"order": order}
        statement = "UPDATE shop.workflow_runs SET state = state || '{\"odd\": 1}' WHERE subject = %(order)s"
        session.exec_driver_sql(statement, row)

    assert shop.recover().dead == 1
    run = shop.run_of(order)
    assert run.status == "DEAD"
    assert "odd" in run.last_error
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql("DELETE FROM shop.workflow_runs WHERE status = 'DEAD'")


# Planted: each of these must be seen.


def test_an_undo_that_is_left_out_is_seen(make_shop: MakeShop, order: str) -> None:
    shop = make_shop(leave_out="release")
    refuse_money(shop)
    shop.depot.faults.extend([killed_after])
    ends(shop, order)
    shop.bank.faults[:] = [refused]

    shop.recover()

    assert violations(shop, order) == ["depot: ['done']"]


def test_a_step_that_commits_before_its_log_entry_is_seen(shop: Shop, order: str) -> None:
    def order_too_early(state: Buying) -> None:
        with entered(root(module="shop")):  # out of the run's transaction
            shop._write(state, "ordered")
        shop._fault("order")

    steps = [Step("order", order_too_early), *list(shop.workflow.steps)[2:]]
    shop.workflow = Workflow("shop.early", 1, steps, subject=lambda state: state.order)
    shop.workflows = shop.process()
    shop.faults["order"] = kill
    ends(shop, order)

    shop.recover()

    assert violations(shop, order) == ["not announced, but ['ordered']"]
