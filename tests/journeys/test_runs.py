"""Looking after runs in a program that serves: by gRPC, for admins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest
from portico.v1 import workflow_service_pb2 as pb
from portico.v1.workflow_service_pb2_grpc import WorkflowServiceStub

from portico.rpc.status import from_rpc_error
from tests.journeys.served import Served
from tests.journeys.shopper import Shopper, new_key

# Whose runs leave a trace: those that are no single transaction there.
LOGGED = {"monolith": set(), "payments-apart": {"orders"}, "apart": {"auth", "orders"}}


def asked(shopper: Shopper, served: Served, method: str, request: Any) -> Any:
    """What the rpc of this name answers at the front."""
    bearer = (("authorization", f"Bearer {shopper.token}"),)
    with grpc.insecure_channel(served.grpc) as channel:
        rpc = getattr(WorkflowServiceStub(channel), method)
        return rpc(request, metadata=bearer, timeout=10)


def reason(work: Callable[[], object]) -> str:
    """Why it is refused."""
    with pytest.raises(grpc.RpcError) as failure:
        work()
    return from_rpc_error(failure.value).reason


def runs_seen_by(shopper: Shopper, served: Served, name: str) -> list[pb.Run]:
    request = pb.ListRunsRequest(name=name, page_size=5)
    return list(asked(shopper, served, "ListRuns", request).runs)


def test_an_admin_sees_the_run_of_an_order_where_there_is_one(
    served: Served, topology: str, demo: Shopper, admin: Shopper
) -> None:
    placed = demo.place()
    assert placed.status == 201, placed

    subjects = [run.subject for run in runs_seen_by(admin, served, "orders.place_order")]

    # Together it was one transaction, which leaves no trace.
    assert subjects[:1] == ([] if topology == "monolith" else [placed.json["orderId"]])


def test_an_admin_sees_the_runs_of_all_modules_wherever_they_live(
    served: Served, topology: str, demo: Shopper, admin: Shopper
) -> None:
    shopper = Shopper.sign_up(served.rest, f"seen-{new_key()}")
    placed = demo.place()
    assert placed.status == 201, placed

    found = {(run.module, run.subject) for run in runs_seen_by(admin, served, "")}

    newest = {("auth", shopper.user_id), ("orders", placed.json["orderId"])}
    assert newest & found == {each for each in newest if each[0] in LOGGED[topology]}


def test_an_admin_inspects_a_run_and_hears_what_cannot_be_done_with_it(
    served: Served, topology: str, demo: Shopper, admin: Shopper
) -> None:
    placed = demo.place()
    assert placed.status == 201, placed
    runs = runs_seen_by(admin, served, "orders.place_order")
    run_id = runs[0].id if runs else str(uuid4())
    is_there = "orders" in LOGGED[topology]

    def refused(method: str, request: Any) -> str:
        return reason(lambda: asked(admin, served, method, request))

    ended = "RUN_ENDED" if is_there else "RUN_NOT_FOUND"
    assert refused("RetryRun", pb.RetryRunRequest(run_id=run_id)) == ended
    assert refused("CancelRun", pb.CancelRunRequest(run_id=run_id)) == ended
    unknown = pb.ForkRunRequest(run_id=run_id, key=new_key(), step="fly")
    assert refused("ForkRun", unknown) == ("STEP_UNKNOWN" if is_there else "RUN_NOT_FOUND")
    if is_there:
        shown = asked(admin, served, "GetRun", pb.GetRunRequest(run_id=run_id, reveal=True))
        assert (shown.run.id, shown.state["order_id"]) == (run_id, placed.json["orderId"])
    else:
        assert refused("GetRun", pb.GetRunRequest(run_id=run_id)) == "RUN_NOT_FOUND"


def test_a_customer_sees_none(served: Served, demo: Shopper) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        runs_seen_by(demo, served, "")

    assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_rest_has_no_way_there(served: Served, admin: Shopper) -> None:
    path = "/portico.v1.WorkflowService/ListRuns"

    assert admin.send("POST", path, {}).status == 404
