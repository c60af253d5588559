"""Looking after the runs of several processes in one place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.v1 import workflow_service_pb2 as pb
from portico.v1.workflow_service_pb2_grpc import (
    WorkflowServiceServicer,
    WorkflowServiceStub,
    add_WorkflowServiceServicer_to_server,
)

from portico import errors
from portico.context import Identity
from portico.errors import StatusError
from portico.rpc.local import LocalChannel
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.remote import RemoteChannel
from portico.workflow.everywhere import Branch, EverywhereServicer

ADMIN = (("authorization", "admin"),)
CUSTOMER = (("authorization", "customer"),)
NOWHERE = "127.0.0.1:1"


class Office(WorkflowServiceServicer):
    """The runs of one process, by what the contract says of them, and what was asked for."""

    def __init__(self, module: str, ids: Sequence[str] = ()) -> None:
        self.module = module
        self.runs = [pb.Run(id=each, module=module) for each in sorted(ids, reverse=True)]
        self.changed: list[str] = []
        self.fault: Callable[[], None] = lambda: None

    def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        self.fault()
        if request.module not in ("", self.module):
            raise errors.not_found("MODULE_NOT_FOUND", "no such module", module=request.module)
        size = request.page_size or 50
        rest = [run for run in self.runs if not request.page_token or run.id < request.page_token]
        token = rest[size - 1].id if len(rest) > size else ""
        return pb.ListRunsResponse(runs=rest[:size], next_page_token=token)

    def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        self.fault()
        return pb.GetRunResponse(run=self._run(request.run_id))

    def RetryRun(self, request: pb.RetryRunRequest, context: Any) -> pb.RetryRunResponse:
        return pb.RetryRunResponse(run=self._changed("retried", request.run_id))

    def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        return pb.CancelRunResponse(run=self._changed("cancelled", request.run_id))

    def ForkRun(self, request: pb.ForkRunRequest, context: Any) -> pb.ForkRunResponse:
        return pb.ForkRunResponse(run=self._changed(f"forked as {request.key}", request.run_id))

    def _changed(self, what: str, run_id: str) -> pb.Run:
        run = self._run(run_id)
        self.changed.append(what)
        return run

    def _run(self, run_id: str) -> pb.Run:
        for run in self.runs:
            if run.id == run_id:
                return run
        raise errors.not_found("RUN_NOT_FOUND", "there is no such run here", run_id=run_id)


def by_token(token: str) -> Identity:
    return Identity("usr_1", frozenset({token}))


def always_admin(_: str) -> Identity:
    return Identity("usr_1", frozenset({"admin"}))


def stub_of(
    servicer: WorkflowServiceServicer | None, *, judge: Callable[[str], Identity] = by_token
) -> WorkflowServiceStub:
    registry = Registry()
    registrar: Any = registry.registrar("portico")
    if servicer is not None:
        add_WorkflowServiceServicer_to_server(servicer, registrar)
    return WorkflowServiceStub(LocalChannel(registry, policy=Policy(authenticate=judge)))


def branch(office: Office) -> Branch:
    return Branch(f"{office.module}-process", [office.module], stub_of(office))


def front(
    *branches: Branch | Office, judge: Callable[[str], Identity] = by_token
) -> WorkflowServiceStub:
    found = [branch(each) if isinstance(each, Office) else each for each in branches]
    return stub_of(EverywhereServicer(found), judge=judge)


def one(module: str) -> tuple[Office, str]:
    """A process with one run."""
    run_id = str(uuid4())
    return Office(module, [run_id]), run_id


def refusal(work: Callable[[], object]) -> StatusError:
    with pytest.raises(StatusError) as failure:
        work()
    return failure.value


@pytest.fixture
def nowhere() -> Iterator[Branch]:
    """A process that cannot be reached."""
    with RemoteChannel(grpc.insecure_channel(NOWHERE)) as channel:
        yield Branch("mill-process", ["mill", "barn"], WorkflowServiceStub(channel))


PLACED = st.dictionaries(st.uuids().map(str), st.integers(0, 2), max_size=30)


@given(placed=PLACED, size=st.integers(1, 12))
def test_every_run_is_on_one_page_and_the_pages_are_in_one_order(
    placed: dict[str, int], size: int
) -> None:
    ids = [[each for each, place in placed.items() if place == number] for number in range(3)]
    service = front(*(Office(f"module{number}", some) for number, some in enumerate(ids)))

    seen: list[str] = []
    request = pb.ListRunsRequest(page_size=size)
    while True:
        page = service.ListRuns(request, metadata=ADMIN)
        assert len(page.runs) == size or not page.next_page_token
        seen += [run.id for run in page.runs]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert seen == sorted(placed, reverse=True)
    assert [UUID(each) for each in seen] == sorted(map(UUID, placed), reverse=True)


def test_a_run_is_shown_and_changed_by_the_process_that_has_it() -> None:
    (shop, run_id), (bank, other) = one("shop"), one("bank")
    service = front(shop, bank)

    got = service.GetRun(pb.GetRunRequest(run_id=other), metadata=ADMIN)
    retried = service.RetryRun(pb.RetryRunRequest(run_id=run_id), metadata=ADMIN)
    cancelled = service.CancelRun(pb.CancelRunRequest(run_id=run_id), metadata=ADMIN)
    forked = service.ForkRun(pb.ForkRunRequest(run_id=run_id, key="k"), metadata=ADMIN)

    assert got.run.module == "bank"
    assert {each.run.id for each in (retried, cancelled, forked)} == {run_id}
    assert shop.changed == ["retried", "cancelled", "forked as k"]
    assert bank.changed == []


def test_a_run_that_nobody_has_is_not_found() -> None:
    service = front(one("shop")[0], one("bank")[0])

    for ask in (
        lambda: service.GetRun(pb.GetRunRequest(run_id=str(uuid4())), metadata=ADMIN),
        lambda: service.RetryRun(pb.RetryRunRequest(run_id=str(uuid4())), metadata=ADMIN),
    ):
        assert refusal(ask).reason == "RUN_NOT_FOUND"


def test_a_refusal_of_the_process_that_has_it_comes_through() -> None:
    class Ended(Office):
        def RetryRun(self, request: pb.RetryRunRequest, context: Any) -> pb.RetryRunResponse:
            raise errors.failed_precondition("RUN_ENDED", "this run has ended", status="DONE")

    run_id = str(uuid4())
    service = front(Ended("shop", [run_id]), one("bank")[0])

    found = refusal(lambda: service.RetryRun(pb.RetryRunRequest(run_id=run_id), metadata=ADMIN))

    assert (found.code(), found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RUN_ENDED")
    assert found.metadata == {"status": "DONE"}


def test_a_list_of_one_module_asks_its_process_alone(nowhere: Branch) -> None:
    shop, run_id = one("shop")
    service = front(shop, nowhere)

    page = service.ListRuns(pb.ListRunsRequest(module="shop"), metadata=ADMIN)

    assert [run.id for run in page.runs] == [run_id]
    found = refusal(lambda: service.ListRuns(pb.ListRunsRequest(module="moon"), metadata=ADMIN))
    assert (found.reason, found.metadata) == ("MODULE_NOT_FOUND", {"module": "moon"})


def test_a_process_that_cannot_be_reached_is_named_where_it_is_needed(nowhere: Branch) -> None:
    shop, run_id = one("shop")
    service = front(nowhere, shop)

    needed = (
        lambda: service.ListRuns(pb.ListRunsRequest(), metadata=ADMIN),
        lambda: service.ListRuns(pb.ListRunsRequest(module="barn"), metadata=ADMIN),
        lambda: service.GetRun(pb.GetRunRequest(run_id=str(uuid4())), metadata=ADMIN),
        lambda: service.CancelRun(pb.CancelRunRequest(run_id=str(uuid4())), metadata=ADMIN),
    )

    for ask in needed:
        found = refusal(ask)
        assert (found.code(), found.reason) == (
            grpc.StatusCode.UNAVAILABLE,
            "PROCESS_UNREACHABLE",
        )
        assert found.metadata == {"process": "mill-process"}
        assert "process mill-process, which runs the workflows of mill, barn" in found.message
        assert NOWHERE not in found.message
    service.RetryRun(pb.RetryRunRequest(run_id=run_id), metadata=ADMIN)
    assert shop.changed == ["retried"]


def test_a_run_is_shown_while_another_process_does_not_answer() -> None:
    (shop, _), (bank, run_id) = one("shop"), one("bank")
    answered = threading.Event()
    shop.fault = lambda: assert_set(answered)

    try:
        found = front(shop, bank).GetRun(pb.GetRunRequest(run_id=run_id), metadata=ADMIN)
    finally:
        answered.set()

    assert found.run.module == "bank"


def test_whoever_asks_still_hears_who_gave_no_answer() -> None:
    left: list[float | None] = []

    class Watching(Office):
        def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
            left.append(context.time_remaining())
            return super().GetRun(request, context)

        def RetryRun(self, request: pb.RetryRunRequest, context: Any) -> pb.RetryRunResponse:
            left.append(context.time_remaining())
            return super().RetryRun(request, context)

    run_id = str(uuid4())
    service = front(Watching("shop", [run_id]))
    service.RetryRun(pb.RetryRunRequest(run_id=run_id), metadata=ADMIN, timeout=60)

    assert len(left) == 2
    assert all(each is not None and each <= 59.5 for each in left)


def assert_set(event: threading.Event) -> None:
    assert event.wait(timeout=30)


def test_a_process_without_workflows_has_no_runs() -> None:
    shop, run_id = one("shop")
    silent = Branch("store-process", ["store"], stub_of(None))
    service = front(silent, shop)

    assert [run.id for run in service.ListRuns(pb.ListRunsRequest(), metadata=ADMIN).runs] == [
        run_id
    ]
    assert service.GetRun(pb.GetRunRequest(run_id=run_id), metadata=ADMIN).run.id == run_id
    found = refusal(lambda: service.ListRuns(pb.ListRunsRequest(module="store"), metadata=ADMIN))
    assert found.reason == "MODULE_NOT_FOUND"


@pytest.mark.parametrize("judge", [by_token, always_admin], ids=["front", "process"])
def test_whoever_is_no_admin_is_refused_here_and_by_each_process(
    judge: Callable[[str], Identity],
) -> None:
    shop, run_id = one("shop")
    service = front(shop, judge=judge)

    for ask in (
        lambda: service.ListRuns(pb.ListRunsRequest(), metadata=CUSTOMER),
        lambda: service.GetRun(pb.GetRunRequest(run_id=run_id), metadata=CUSTOMER),
        lambda: service.CancelRun(pb.CancelRunRequest(run_id=run_id), metadata=CUSTOMER),
    ):
        found = refusal(ask)
        assert (found.code(), found.reason) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "ROLE_REQUIRED",
        )
    assert shop.changed == []
