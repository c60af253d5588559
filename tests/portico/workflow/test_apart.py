"""A run whose steps leave the process, as long as its own process lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

import grpc
import pytest

from portico.context import Call, Identity, Origin, current, entered, root
from portico.data import TransactionMisuseError
from portico.errors import StatusError
from portico.workflow import Step, Workflow, Workflows, under_way
from tests.portico.workflow.shop import (
    SETTINGS,
    BankStub,
    Buying,
    DepotStub,
    Killed,
    Neighbour,
    Shop,
    diary,
    down,
    killed,
    lost,
    refused,
    shut,
    violations,
)

MakeShop = Callable[..., Shop]


def fails(shop: Shop, order: str) -> StatusError:
    with pytest.raises(StatusError) as failure:
        shop.buy(order)
    return failure.value


@pytest.fixture
def order() -> str:
    return str(uuid4())


def test_the_strategy_follows_from_where_the_steps_lead(make_shop: MakeShop) -> None:
    near = make_shop(is_local=lambda _: True)
    half = make_shop(is_local=lambda stub: stub is BankStub)

    assert near.workflows.strategy(near.workflow) == "together"
    assert half.workflows.strategy(half.workflow) == "apart"


def test_all_steps_are_taken_and_the_state_is_answered(shop: Shop, order: str) -> None:
    state = shop.buy(order)

    assert state == Buying(order, ["tea"], price=7, receipt=f"receipt of {order}")
    assert violations(shop, order) == []
    assert diary(shop, order) == ["announced", "ordered"]


def test_together_nothing_is_written_to_the_log(make_shop: MakeShop, order: str) -> None:
    shop = make_shop(is_local=lambda _: True)
    shop.depot.do = shop.bank.do = lambda *_: None  # type: ignore[method-assign]  # they mind transactions
    shop.bank.ask = lambda: None  # type: ignore[method-assign]

    assert shop.buy(order).receipt
    assert shop.rows("SELECT FROM shop.workflow_runs WHERE subject = :order", order=order) == []


def log_writes(shop: Shop, order: str) -> int:
    return len(shop.rows("SELECT FROM shop.log_writes WHERE subject = :order", order=order))


def test_a_run_is_written_with_its_first_commit_and_with_its_last(shop: Shop, order: str) -> None:
    shop.buy(order)

    assert log_writes(shop, order) == 2
    transactions = shop.rows(
        "SELECT DISTINCT transaction FROM shop.log_writes WHERE subject = :order", order=order
    )
    assert len(transactions) == 2


def test_between_two_steps_elsewhere_it_is_written_only_for_news_in_the_state(
    shop: Shop, order: str
) -> None:
    def goods(state: Buying) -> None:
        shop.depot.do(state.order, "goods")
        state.goods.append("biscuits")

    steps = list(shop.workflow.steps)
    steps[2] = Step("goods", goods, undo=shop._release, at=DepotStub)
    changing = Workflow("shop.change", 1, steps, subject=lambda state: state.order)
    shop.workflows.define(changing, state=Buying)

    shop.workflows.run(changing, Buying(order, ["tea"]), key=order)

    assert log_writes(shop, order) == 3


def test_a_slow_run_keeps_its_lease(make_shop: MakeShop, order: str) -> None:
    shop = make_shop(settings=replace(SETTINGS, lease_seconds=0.06))

    def slow(work: Callable[[], object]) -> None:
        time.sleep(0.03)
        work()

    shop.depot.faults = [slow]
    shop.buy(order)

    assert log_writes(shop, order) == 3  # once more, before the money


def test_a_run_keeps_its_lease_from_attempt_to_attempt(make_shop: MakeShop, order: str) -> None:
    shop = make_shop(settings=replace(SETTINGS, lease_seconds=0.06))

    def slow(_: Callable[[], object]) -> None:
        time.sleep(0.03)
        down(_)

    shop.depot.faults = [slow, slow]
    shop.buy(order)

    assert log_writes(shop, order) >= 4  # before the second attempt and the third, at least


def test_an_attempt_that_may_have_arrived_counts_though_the_lease_could_not_be_kept(
    make_shop: MakeShop, order: str
) -> None:
    shop = make_shop(settings=replace(SETTINGS, lease_seconds=0.06))

    def slowly_lost(work: Callable[[], object]) -> None:
        time.sleep(0.03)
        with shop.database.unit_of_work() as session:
            session.exec_driver_sql("ALTER TABLE shop.workflow_runs RENAME COLUMN state TO gone")
        lost(work)

    shop.depot.faults = [slowly_lost]
    try:
        assert fails(shop, order).reason == "WORKFLOW_RUNNING"
    finally:
        with shop.database.unit_of_work() as session:
            session.exec_driver_sql("ALTER TABLE shop.workflow_runs RENAME COLUMN gone TO state")

    shop.recover()
    assert violations(shop, order) == []


def test_commands_are_named_after_the_run_and_the_step(shop: Shop, order: str) -> None:
    shop.buy(order)

    run = shop.run_of(order)
    assert shop.depot.requests == [f"{run.id}/goods"]
    assert shop.bank.requests == [f"{run.id}/money"]


def test_a_refusal_undoes_what_was_done_and_comes_out_unchanged(shop: Shop, order: str) -> None:
    shop.bank.faults = [lambda work: work(), refused]

    failure = fails(shop, order)

    assert (failure.code(), failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SOLD_OUT")
    assert failure.metadata == {"thing": "tea"}
    assert violations(shop, order) == []
    assert diary(shop, order) == ["cancelled", "ordered"]


def test_a_step_that_was_refused_is_not_undone(shop: Shop, order: str) -> None:
    shop.depot.faults = [refused]

    fails(shop, order)

    assert len(shop.depot.seen) == 1
    assert len(shop.bank.seen) == 1  # the price
    assert shop.run_of(order).status == "UNDONE"


def test_what_a_step_before_the_first_change_is_refused_leaves_nothing(
    shop: Shop, order: str
) -> None:
    shop.bank.faults = [refused]

    fails(shop, order)

    assert shop.rows("SELECT FROM shop.workflow_runs WHERE subject = :order", order=order) == []


def test_an_own_step_that_fails_first_leaves_nothing(shop: Shop, order: str) -> None:
    def fail() -> None:
        raise KeyError("a mistake")

    shop.faults["order"] = fail

    with pytest.raises(KeyError):
        shop.buy(order)

    assert diary(shop, order) == []
    assert shop.rows("SELECT FROM shop.workflow_runs WHERE subject = :order", order=order) == []


def test_an_own_step_that_fails_last_undoes_everything(shop: Shop, order: str) -> None:
    def fail() -> None:
        raise KeyError("a mistake")

    shop.faults["announce"] = fail

    with pytest.raises(KeyError):
        shop.buy(order)

    assert violations(shop, order) == []
    assert diary(shop, order) == ["cancelled", "ordered"]


def test_a_lost_answer_is_asked_for_again_under_the_same_key(shop: Shop, order: str) -> None:
    shop.depot.faults = [lost, down]

    shop.buy(order)

    assert len(set(shop.depot.requests)) == 1
    assert len(shop.depot.seen) == 3
    assert violations(shop, order) == []


def test_a_step_that_may_have_happened_is_undone_too(shop: Shop, order: str) -> None:
    shop.depot.faults = [lost, down, down]

    failure = fails(shop, order)

    assert failure.code() is grpc.StatusCode.UNAVAILABLE
    assert violations(shop, order) == []
    assert shop.run_of(order).status == "UNDONE"


def test_a_step_that_was_not_even_sent_is_not_tried_again_and_not_undone(
    shop: Shop, order: str
) -> None:
    shop.depot.faults = [shut]

    failure = fails(shop, order)

    assert failure.reason == "CIRCUIT_OPEN"
    assert len(shop.depot.seen) == 1
    assert shop.run_of(order).status == "UNDONE"


def test_a_command_that_comes_after_its_undo_is_refused(shop: Shop, order: str) -> None:
    late: list[Callable[[], object]] = []

    def delayed(work: Callable[[], object]) -> None:
        late.append(work)
        down(work)

    shop.depot.faults = [delayed, down, down]
    fails(shop, order)

    with entered(root()), pytest.raises(StatusError, match="undone before it came"):
        late[0]()
    assert violations(shop, order) == []


def test_an_undo_that_cannot_be_done_now_is_done_by_recovery(shop: Shop, order: str) -> None:
    shop.bank.faults = [lambda work: work(), refused]
    shop.depot.faults = [lambda work: work(), down, down, down, down, down, down]

    failure = fails(shop, order)
    assert failure.reason == "SOLD_OUT"
    assert shop.run_of(order).status == "RUNNING"

    assert shop.recover().undone == 0
    assert shop.recover().undone == 1
    assert violations(shop, order) == []


def test_a_finished_run_answers_every_repeat(shop: Shop, order: str) -> None:
    first = shop.buy(order, key=f"key-{order}")

    again = shop.buy("another", key=f"key-{order}")

    assert again == first
    assert diary(shop, "another") == []
    assert len(shop.depot.requests) == 1


def test_a_key_whose_run_was_undone_is_free_again(shop: Shop, order: str) -> None:
    shop.depot.faults = [refused]
    fails(shop, order)

    state = shop.buy(f"second-{order}", key=order)

    assert state.receipt == f"receipt of second-{order}"
    assert violations(shop, order) == violations(shop, f"second-{order}") == []
    assert len(set(shop.depot.requests)) == 1  # the first was refused before it was noted


class Gate:
    """Holds a call until it is opened."""

    def __init__(self) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

    def __call__(self, work: Callable[[], object]) -> None:
        self._reached.set()
        assert self._open.wait(10)
        work()

    def await_call(self) -> None:
        assert self._reached.wait(10)

    def open(self) -> None:
        self._open.set()


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    results: list[object] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as failure:  # noqa: BLE001  # compared by the test
            results.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_a_repeat_waits_for_the_run_that_is_under_way(shop: Shop, order: str, gate: Gate) -> None:
    shop.depot.faults = [gate]
    first, firsts = in_background(lambda: shop.buy(order, key=order))
    gate.await_call()
    second, seconds = in_background(lambda: shop.buy(f"twin of {order}", key=order))
    time.sleep(0.05)
    gate.open()
    first.join()
    second.join()

    assert firsts == seconds
    assert diary(shop, f"twin of {order}") == []
    assert violations(shop, order) == []


def test_a_repeat_that_waits_gets_the_refusal_too(shop: Shop, order: str, gate: Gate) -> None:
    def refused_late(work: Callable[[], object]) -> None:
        gate(lambda: None)
        refused(work)

    shop.depot.faults = [refused_late]
    first, firsts = in_background(lambda: shop.buy(order, key=order))
    gate.await_call()
    second, seconds = in_background(lambda: shop.buy(f"twin of {order}", key=order))
    time.sleep(0.05)
    gate.open()
    first.join()
    second.join()

    for found in (*firsts, *seconds):
        assert isinstance(found, StatusError)
        assert (found.reason, found.metadata) == ("SOLD_OUT", {"thing": "tea"})


def test_a_repeat_that_cannot_wait_is_told_which_run_goes_on(
    shop: Shop, order: str, gate: Gate
) -> None:
    shop.depot.faults = [gate]
    first, _ = in_background(lambda: shop.buy(order))
    gate.await_call()
    hurried = Call(None, Origin.fresh(), "", "shop", "", time.monotonic() + 0.1, ())

    with entered(hurried):
        failure = fails(shop, order)
    gate.open()
    first.join()

    assert (failure.code(), failure.reason) == (grpc.StatusCode.ABORTED, "WORKFLOW_RUNNING")
    assert failure.metadata == {"workflow": "shop.buy", "run_id": str(shop.run_of(order).id)}
    assert shop.buy(order).receipt


def test_a_run_goes_on_when_its_callers_time_is_over(shop: Shop, order: str) -> None:
    def hang(work: Callable[[], object]) -> None:
        time.sleep(0.6)
        raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")

    shop.depot.faults = [hang]
    with entered(Call(None, Origin.fresh(), "", "shop", "", time.monotonic() + 0.5, ())):
        failure = fails(shop, order)

    assert failure.reason == "WORKFLOW_RUNNING"
    assert shop.run_of(order).status == "RUNNING"
    assert shop.recover(seconds=0).finished == 1  # at once: nobody has to wait for a lease to end
    assert violations(shop, order) == []
    assert shop.buy(order).receipt == f"receipt of {order}"


def test_its_caller_hears_of_the_run_while_there_is_time(shop: Shop, order: str) -> None:
    """Over a network an answer that comes after the deadline is none."""

    def hang(_: Callable[[], object]) -> None:
        time.sleep(current().time_remaining() or 0)
        raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")

    shop.depot.faults = [hang]
    with entered(Call(None, Origin.fresh(), "", "shop", "", time.monotonic() + 2, ())) as caller:
        failure = fails(shop, order)

        assert caller.is_active()
    assert failure.reason == "WORKFLOW_RUNNING"
    assert shop.recover(seconds=0).finished == 1


def test_recovery_calls_for_the_user_who_asked(shop: Shop, order: str) -> None:
    shop.depot.faults = [down, down, down]
    shop.bank.faults = []
    origin = Origin(Identity("usr_1", frozenset({"customer"})), "request-9", "0" * 31 + "1", "")
    shop.depot.faults = [lambda work: work(), *[down] * 6]
    shop.bank.faults = [lambda work: work(), refused]
    with entered(Call(None, origin, "", "shop", "", time.monotonic() + 5, ())):
        fails(shop, order)
    shop.depot.seen.clear()
    shop.depot.faults = []

    shop.recover()

    assert shop.depot.seen == [(origin.identity, "request-9", "shop")]
    assert shop.run_of(order).deadline_at is not None


def test_what_is_not_done_yet_can_be_told_from_what_is(shop: Shop, order: str, gate: Gate) -> None:
    shop.bank.faults = [lambda work: work(), gate]
    first, _ = in_background(lambda: shop.buy(order))
    gate.await_call()

    assert is_under_way(shop, order)
    assert not is_under_way(shop, "another")
    gate.open()
    first.join()
    assert not is_under_way(shop, order)


def is_under_way(shop: Shop, order: str) -> bool:
    from sqlalchemy import literal, select

    condition = under_way(literal(order), schema="shop", workflow="shop.buy")
    with shop.database.reading() as session:
        return bool(session.execute(select(condition)).scalar_one())


def test_neighbouring_steps_in_the_process_share_a_transaction(
    make_shop: MakeShop, order: str
) -> None:
    """With the depot in the process, its step fails together with the order that it was taken with."""
    shop = make_shop(is_local=lambda stub: stub is DepotStub)

    def local_refusal(*_: object) -> None:
        raise StatusError(grpc.StatusCode.NOT_FOUND, "no such tea")

    shop.depot.do = local_refusal  # type: ignore[assignment, method-assign]
    failure = fails(shop, order)

    assert failure.code() is grpc.StatusCode.NOT_FOUND
    assert diary(shop, order) == []


def test_behind_its_pivot_a_run_only_goes_forward(shop: Shop, order: str) -> None:
    steps = [
        Step("order", shop._order, undo=shop._cancel, pivot=True),
        Step("goods", shop._goods, undo=shop._release, at=DepotStub),
    ]
    shop.workflow = Workflow("shop.must", 1, steps, subject=lambda state: state.order)
    shop.workflows.define(shop.workflow, state=Buying)
    shop.depot.faults = [refused]

    assert fails(shop, order).reason == "WORKFLOW_RUNNING"
    assert shop.recover().finished == 1
    assert diary(shop, order) == ["ordered"]
    assert shop.run_of(order).status == "DONE"


def test_a_run_that_cannot_be_undone_dies_in_the_end_and_is_kept(shop: Shop, order: str) -> None:
    shop.bank.faults = [lambda work: work(), refused]
    shop.depot.faults = [lambda work: work(), *[refused] * 1000]
    fails(shop, order)
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql(
            "UPDATE shop.workflow_runs SET attempts = 99 WHERE status = 'RUNNING'"
        )

    assert shop.recover().dead == 1
    run = shop.run_of(order)
    assert (run.status, run.direction, run.error["reason"]) == ("DEAD", "UNDO", "SOLD_OUT")
    assert "SOLD_OUT" in run.last_error
    assert is_under_way(shop, order)
    assert fails(shop, order).reason == "SOLD_OUT"
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql("DELETE FROM shop.workflow_runs WHERE status = 'DEAD'")


def test_a_run_outlives_an_outage_of_any_length(make_shop: MakeShop, order: str) -> None:
    shop = make_shop(settings=replace(SETTINGS, max_attempts=4, step_attempts=1))
    shop.bank.faults = [lambda work: work(), refused]
    shop.depot.faults = [lambda work: work(), *[shut] * 20]
    fails(shop, order)
    for _ in range(19):
        assert shop.recover().undone == 0
        assert shop.run_of(order).status == "RUNNING"

    assert shop.recover().undone == 1
    assert violations(shop, order) == []


def test_a_run_that_ends_its_process_each_time_dies_in_the_end(shop: Shop, order: str) -> None:
    shop.depot.faults = [killed] * 3
    with pytest.raises(Killed):
        shop.buy(order)
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql(
            "UPDATE shop.workflow_runs SET attempts = 99 WHERE status = 'RUNNING'"
        )
    with pytest.raises(Killed):
        shop.recover()

    assert shop.recover().dead == 1
    assert len(shop.depot.faults) == 1
    assert shop.run_of(order).status == "DEAD"
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql("DELETE FROM shop.workflow_runs WHERE status = 'DEAD'")


def test_a_workflow_that_leaves_the_process_runs_in_no_transaction(shop: Shop, order: str) -> None:
    with (
        pytest.raises(TransactionMisuseError, match=r"shop\.buy leaves the process"),
        shop.database.unit_of_work(),
    ):
        shop.buy(order)


def test_a_workflow_that_leaves_the_process_must_be_defined(shop: Shop, order: str) -> None:
    stranger = Workflow("shop.strange", 1, [Step[Buying]("goods", shop._goods, at=DepotStub)])

    with pytest.raises(RuntimeError, match="define it"):
        shop.workflows.run(stranger, Buying(order, []), key=order)


@dataclass
class Fancy:
    """A state that does not come back as it went."""

    pair: tuple[int, int]


def test_a_state_that_would_come_back_as_something_else_is_refused(shop: Shop) -> None:
    steps = [Step[Fancy]("goods", lambda _: None, at=DepotStub)]
    workflow = shop.workflows.define(Workflow("shop.fancy", 1, steps), state=Fancy)

    with pytest.raises(TypeError, match="plain data"):
        shop.workflows.run(workflow, Fancy((1, 2)), key="fancy")


def test_a_neighbour_of_the_tests_sees_a_transaction(shop: Shop) -> None:
    """The check in it can fail."""
    neighbour: Neighbour = shop.depot
    with pytest.raises(AssertionError, match="transaction"), shop.database.unit_of_work():
        neighbour.do("thing", "r")


@dataclass
class Bought:
    """What the state of ``shop.buy`` has become, without a thought for what is in the log."""

    order: str
    parcels: list[str]


def test_an_answer_that_a_new_version_cannot_read_is_told(shop: Shop, order: str) -> None:
    shop.buy(order)
    newer = shop.process()
    steps = [Step[Bought]("goods", lambda _: None, at=DepotStub)]
    workflow = newer.define(Workflow("shop.buy", 2, steps), state=Bought)

    with pytest.raises(StatusError) as failure:
        newer.run(workflow, Bought(order, []), key=order)

    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert failure.value.reason == "WORKFLOW_ANSWER_OUTDATED"
    assert failure.value.metadata["version"] == "1"


def test_a_defined_workflow_is_named_once(shop: Shop) -> None:
    before = len(shop.workflows.plans)
    shop.workflows.define(shop.workflow, state=Buying)

    assert len(shop.workflows.plans) == before
    assert isinstance(shop.workflows, Workflows)
