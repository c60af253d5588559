"""Looking after runs in a program that serves: by gRPC, for admins."""

from __future__ import annotations

import grpc
import pytest
from portico.v1 import workflow_service_pb2 as pb
from portico.v1.workflow_service_pb2_grpc import WorkflowServiceStub

from tests.journeys.served import Served
from tests.journeys.shopper import Shopper


def runs_seen_by(shopper: Shopper, served: Served, name: str) -> list[pb.Run]:
    request = pb.ListRunsRequest(name=name, page_size=5)
    bearer = (("authorization", f"Bearer {shopper.token}"),)
    with grpc.insecure_channel(served.grpc) as channel:
        answer = WorkflowServiceStub(channel).ListRuns(request, metadata=bearer, timeout=10)
    return list(answer.runs)


@pytest.fixture(autouse=True)
def _(topology: str) -> None:
    if topology == "apart":
        pytest.skip("its front has no modules, and so no runs: each process tells of its own")


def test_an_admin_sees_the_run_of_an_order_where_there_is_one(
    served: Served, topology: str, demo: Shopper, admin: Shopper
) -> None:
    placed = demo.place()
    assert placed.status == 201, placed

    subjects = [run.subject for run in runs_seen_by(admin, served, "orders.place_order")]

    # Together it was one transaction, which leaves no trace.
    assert subjects[:1] == ([] if topology == "monolith" else [placed.json["orderId"]])


def test_a_customer_sees_none(served: Served, demo: Shopper) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        runs_seen_by(demo, served, "")

    assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_rest_has_no_way_there(served: Served, admin: Shopper) -> None:
    path = "/portico.v1.WorkflowService/ListRuns"

    assert admin.send("POST", path, {}).status == 404
