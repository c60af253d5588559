"""What whoever looks after runs can see of them and change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from portico.v1 import workflow_service_pb2 as pb
from portico.v1.workflow_service_pb2_grpc import (
    WorkflowServiceStub,
    add_WorkflowServiceServicer_to_server,
)

from portico.context import Identity
from portico.errors import StatusError
from portico.rpc.local import LocalChannel
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.workflow import Runs, Step, Workflow
from portico.workflow.run import Direction, Status
from portico.workflow.servicer import WorkflowServicer
from tests.portico.workflow.shop import (
    Buying,
    DepotStub,
    Killed,
    Shop,
    diary,
    down,
    killed,
    killed_after,
    refused,
    violations,
)


def works(work: Callable[[], object]) -> None:
    work()


@pytest.fixture
def order() -> str:
    return str(uuid4())


@pytest.fixture
def runs(shop: Shop) -> Runs:
    return Runs([shop.workflows])


def id_of(shop: Shop, order: str) -> UUID:
    found: UUID = shop.run_of(order).id
    return found


def refusal(work: Callable[[], object]) -> StatusError:
    with pytest.raises(StatusError) as failure:
        work()
    return failure.value


def abandoned(shop: Shop, order: str) -> UUID:
    """A run whose process ended before the goods."""
    shop.depot.faults = [killed]
    with pytest.raises(Killed):
        shop.buy(order)
    return id_of(shop, order)


def dead(shop: Shop, order: str) -> UUID:
    run_id = abandoned(shop, order)
    with shop.database.unit_of_work() as session:
        row = {"id": run_id}
        session.exec_driver_sql(
            "UPDATE shop.workflow_runs SET status = 'DEAD', attempts = 100 WHERE id = %(id)s", row
        )
    return run_id


def test_runs_are_listed_youngest_first_and_page_by_page(shop: Shop, runs: Runs) -> None:
    shop.clock.advance(seconds=86_400)  # later than whatever other tests have begun
    orders = [str(uuid4()) for _ in range(5)]
    for each in orders:
        shop.buy(each)

    first = runs.page(size=2)
    rest = runs.page(size=3, after=first[-1].run.id)

    assert [each.run.subject for each in (*first, *rest)] == orders[::-1]


def test_runs_are_picked_by_module_name_status_and_age(shop: Shop, runs: Runs, order: str) -> None:
    run_id = abandoned(shop, order)

    def found(**chosen: Any) -> bool:
        return run_id in [each.run.id for each in runs.page(**chosen)]

    assert found(module="shop", name="shop.buy", status=Status.RUNNING)
    assert not found(name="shop.sell")
    assert not found(status=Status.DONE)
    assert not found(min_age_seconds=60)
    shop.clock.advance(seconds=61)
    assert found(min_age_seconds=60)
    assert refusal(lambda: runs.page(module="mill")).reason == "MODULE_NOT_FOUND"
    shop.recover()


def test_a_run_is_shown_with_the_step_that_is_next(shop: Shop, runs: Runs, order: str) -> None:
    record = runs.get(abandoned(shop, order))

    assert (record.module, record.next_step) == ("shop", "goods")
    assert record.first_state == {"order": order, "goods": ["tea"], "price": 0, "receipt": ""}
    assert record.run.state["price"] == 7
    assert refusal(lambda: runs.get(uuid4())).reason == "RUN_NOT_FOUND"
    shop.recover()


def test_a_dead_run_that_is_retried_goes_on(shop: Shop, runs: Runs, order: str) -> None:
    run_id = dead(shop, order)
    assert shop.recover().finished == 0

    assert runs.retry(run_id).run.status is Status.RUNNING

    assert shop.recover(seconds=0).finished == 1
    assert violations(shop, order) == []
    assert refusal(lambda: runs.retry(run_id)).reason == "RUN_ENDED"


def test_a_run_that_waits_for_its_next_attempt_is_retried_at_once(
    shop: Shop, runs: Runs, order: str
) -> None:
    run_id = abandoned(shop, order)
    shop.depot.faults = [down] * 3
    assert shop.recover().finished == 0
    assert shop.recover(seconds=0).finished == 0

    runs.retry(run_id)

    assert shop.recover(seconds=0).finished == 1


def test_a_run_that_is_cancelled_is_undone_and_its_key_is_free(
    shop: Shop, runs: Runs, order: str
) -> None:
    shop.bank.faults = [works, killed_after]
    with pytest.raises(Killed):
        shop.buy(order)

    record = runs.cancel(id_of(shop, order))

    assert (record.run.direction, record.run.status) == (Direction.UNDO, Status.RUNNING)
    assert refusal(lambda: shop.buy(order)).reason == "WORKFLOW_CANCELLED"
    assert shop.recover(seconds=0).undone == 1
    assert violations(shop, order) == []
    assert diary(shop, order) == ["cancelled", "ordered"]
    assert runs.cancel(record.run.id).run.status is Status.UNDONE  # twice does nothing
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql("DELETE FROM depot.things")
        session.exec_driver_sql("DELETE FROM bank.things")
    assert shop.buy(order).receipt


def test_whoever_waits_for_a_run_hears_that_it_was_cancelled(
    shop: Shop, runs: Runs, order: str
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def slow(work: Callable[[], object]) -> None:
        reached.set()
        go_on.wait(10)
        work()

    shop.depot.faults = [slow]
    heard: list[StatusError] = []
    waiting = threading.Thread(target=lambda: heard.append(refusal(lambda: shop.buy(order))))
    waiting.start()
    assert reached.wait(10)
    runs.cancel(id_of(shop, order))
    go_on.set()
    waiting.join(10)

    assert [each.reason for each in heard] == ["WORKFLOW_CANCELLED"]
    shop.recover(seconds=0)
    assert violations(shop, order) == []


def test_nothing_is_cancelled_behind_its_pivot_or_its_end(
    shop: Shop, runs: Runs, order: str
) -> None:
    shop.buy(order)
    assert refusal(lambda: runs.cancel(id_of(shop, order))).reason == "RUN_ENDED"
    steps = [
        Step("order", shop._order, undo=shop._cancel),
        Step("goods", shop._goods, at=DepotStub, pivot=True),
        Step("announce", lambda _: None),
    ]
    firm = Workflow("shop.firm", 1, steps, subject=lambda state: state.order)
    shop.workflows.define(firm, state=Buying)
    other = str(uuid4())
    shop.depot.faults = [killed]
    with pytest.raises(Killed):
        shop.workflows.run(firm, Buying(other, []), key=other)

    failure = refusal(lambda: runs.cancel(id_of(shop, other)))

    assert (failure.reason, failure.metadata["step"]) == ("RUN_PAST_PIVOT", "goods")
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql("DELETE FROM shop.workflow_runs WHERE name = 'shop.firm'")


def test_an_undone_run_is_forked_from_its_start_with_ids_of_its_own(
    shop: Shop, runs: Runs, order: str
) -> None:
    shop.bank.faults = [works, refused]
    refusal(lambda: shop.buy(order))
    old, fresh = id_of(shop, order), str(uuid4())

    assert refusal(lambda: runs.fork(old, key="k", step="money")).reason == "STEP_NOT_REACHED"
    fork = runs.fork(old, key=f"fork of {order}", changes={"order": fresh})

    assert (fork.run.subject, fork.run.headers["fork_of"]) == (fresh, str(old))
    assert shop.recover(seconds=0).finished == 1
    assert violations(shop, fresh) == violations(shop, order) == []
    assert diary(shop, fresh) == ["announced", "ordered"]
    again = refusal(lambda: runs.fork(old, key=f"fork of {order}"))
    assert again.code() is grpc.StatusCode.ALREADY_EXISTS


def test_a_fork_from_the_middle_undoes_nothing_of_the_run_before(
    shop: Shop, runs: Runs, order: str
) -> None:
    run_id = dead(shop, order)
    shop.bank.faults = [refused]

    fork = runs.fork(run_id, key=f"fork of {order}", step="goods")

    assert (fork.run.first_step, fork.run.state["price"]) == (2, 7)
    assert shop.recover(seconds=0).undone == 1
    assert diary(shop, order) == ["ordered"]  # which is the dead run's
    assert runs.get(fork.run.id).run.status is Status.UNDONE
    assert refusal(lambda: runs.fork(run_id, key="k", step="announce")).reason == "STEP_NOT_REACHED"
    with shop.database.unit_of_work() as session:
        session.exec_driver_sql("DELETE FROM shop.workflow_runs WHERE status = 'DEAD'")


def test_a_fork_is_refused_what_it_cannot_begin_with(shop: Shop, runs: Runs, order: str) -> None:
    run_id = abandoned(shop, order)
    assert refusal(lambda: runs.fork(run_id, key="k")).reason == "RUN_NOT_ENDED"
    shop.recover()
    assert refusal(lambda: runs.fork(run_id, key="k", step="sale")).reason == "STEP_UNKNOWN"
    changes = {"colour": "blue"}
    assert refusal(lambda: runs.fork(run_id, key="k", changes=changes)).reason == "STATE_INVALID"


@pytest.fixture
def stub(runs: Runs) -> Callable[..., WorkflowServiceStub]:
    def make(*roles: str) -> WorkflowServiceStub:
        registry = Registry()
        registrar: Any = registry.registrar("portico")
        add_WorkflowServiceServicer_to_server(WorkflowServicer(runs), registrar)
        identity = Identity("usr_root", frozenset(roles))
        policy = Policy(authenticate=lambda _: identity)
        return WorkflowServiceStub(LocalChannel(registry, policy=policy))

    return make


SIGNED_IN = (("authorization", "Bearer any"),)


def test_only_an_admin_looks_after_runs(stub: Callable[..., WorkflowServiceStub]) -> None:
    request = pb.ListRunsRequest()

    assert stub("admin").ListRuns(request, metadata=SIGNED_IN).runs is not None
    for roles in ((), ("customer",)):
        with pytest.raises(grpc.RpcError) as failure:
            stub(*roles).ListRuns(request, metadata=SIGNED_IN)
        assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_runs_are_paged_over_the_wire(shop: Shop, stub: Callable[..., WorkflowServiceStub]) -> None:
    shop.clock.advance(seconds=864_000)  # later than whatever other tests have begun
    orders = [str(uuid4()) for _ in range(3)]
    for each in orders:
        shop.buy(each)
    service = stub("admin")

    first = service.ListRuns(pb.ListRunsRequest(page_size=2), metadata=SIGNED_IN)
    more = pb.ListRunsRequest(page_size=1, page_token=first.next_page_token)
    second = service.ListRuns(more, metadata=SIGNED_IN)

    assert [run.subject for run in (*first.runs, *second.runs)] == orders[::-1]
    assert first.runs[0].status == pb.RUN_STATUS_DONE
    with pytest.raises(grpc.RpcError) as failure:
        service.ListRuns(pb.ListRunsRequest(page_token="x"), metadata=SIGNED_IN)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_texts_of_a_run_are_hidden_unless_they_are_asked_for(
    shop: Shop, stub: Callable[..., WorkflowServiceStub], order: str
) -> None:
    shop.bank.faults = [works, refused]
    refusal(lambda: shop.buy(order))
    request = pb.GetRunRequest(run_id=str(id_of(shop, order)))

    shown = stub("admin").GetRun(request, metadata=SIGNED_IN)
    request.reveal = True
    revealed = stub("admin").GetRun(request, metadata=SIGNED_IN)

    assert list(shown.steps) == ["price", "order", "goods", "money", "announce"]
    assert dict(shown.state)["price"] == 7
    assert (shown.state["order"], shown.key) == ("[hidden]", "[hidden]")
    assert "tea" not in str(shown)
    assert (shown.error["reason"], "message" in shown.error) == ("SOLD_OUT", False)
    assert (revealed.state["order"], revealed.key) == (order, order)
    assert "there is none left" in str(revealed.error["message"])


def test_runs_are_changed_over_the_wire(
    shop: Shop, stub: Callable[..., WorkflowServiceStub], order: str
) -> None:
    service, run_id = stub("admin"), str(abandoned(shop, order))

    retried = service.RetryRun(pb.RetryRunRequest(run_id=run_id), metadata=SIGNED_IN).run
    cancelled = service.CancelRun(pb.CancelRunRequest(run_id=run_id), metadata=SIGNED_IN).run
    assert (retried.undo, cancelled.undo) == (False, True)
    assert shop.recover(seconds=0).undone == 1

    fresh = str(uuid4())
    request = pb.ForkRunRequest(run_id=run_id, key=f"fork of {order}")
    request.set.update({"order": fresh, "price": 8})
    fork = service.ForkRun(request, metadata=SIGNED_IN).run
    assert (fork.subject, fork.next_step) == (fresh, "price")
    assert shop.recover(seconds=0).finished == 1
    assert violations(shop, fresh) == []
