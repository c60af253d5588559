"""Looking after runs over gRPC. See the contract, ``portico.v1.WorkflowService``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from google.protobuf.json_format import MessageToDict

from portico import errors
from portico.context import current
from portico.telemetry import logs
from portico.v1 import workflow_service_pb2 as pb
from portico.v1.workflow_service_pb2_grpc import WorkflowServiceServicer
from portico.workflow import wire
from portico.workflow.runs import DEFAULT_SIZE

if TYPE_CHECKING:
    import grpc

    from portico.workflow.runs import Runs

_log = logs.logger("portico.workflow")


class WorkflowServicer(WorkflowServiceServicer):
    """The runs of this process's modules, for whoever has the role that the contract asks for."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def ListRuns(  # noqa: N802  # the contract's name
        self, request: pb.ListRunsRequest, context: grpc.ServicerContext
    ) -> pb.ListRunsResponse:
        """One page. The token is the id of the last run of the page before."""
        size = request.page_size or DEFAULT_SIZE
        records = self._runs.page(
            module=request.module,
            name=request.name,
            status=wire.status_of(request.status),
            min_age_seconds=request.min_age_seconds,
            after=_place(request.page_token),
            size=size + 1,
        )
        page = records[:size]
        token = str(page[-1].run.id) if len(records) > size else ""
        return pb.ListRunsResponse(runs=[wire.run(each) for each in page], next_page_token=token)

    def GetRun(  # noqa: N802
        self, request: pb.GetRunRequest, context: grpc.ServicerContext
    ) -> pb.GetRunResponse:
        """All about one."""
        record = self._runs.get(UUID(request.run_id))
        if request.reveal:
            _told("the data of a run were shown", request.run_id)
        return wire.details(record, reveal=request.reveal)

    def RetryRun(  # noqa: N802
        self, request: pb.RetryRunRequest, context: grpc.ServicerContext
    ) -> pb.RetryRunResponse:
        """Have it tried again."""
        record = self._runs.retry(UUID(request.run_id))
        _told("a run is tried again", request.run_id)
        return pb.RetryRunResponse(run=wire.run(record))

    def CancelRun(  # noqa: N802
        self, request: pb.CancelRunRequest, context: grpc.ServicerContext
    ) -> pb.CancelRunResponse:
        """Have it undone."""
        record = self._runs.cancel(UUID(request.run_id))
        _told("a run was cancelled", request.run_id)
        return pb.CancelRunResponse(run=wire.run(record))

    def ForkRun(  # noqa: N802
        self, request: pb.ForkRunRequest, context: grpc.ServicerContext
    ) -> pb.ForkRunResponse:
        """Begin a new one."""
        record = self._runs.fork(
            UUID(request.run_id), key=request.key, step=request.step, changes=_changes(request)
        )
        _told("a run was forked", request.run_id, fork=str(record.run.id))
        return pb.ForkRunResponse(run=wire.run(record))


def _told(what: str, run_id: str, **more: str) -> None:
    _log.warning(what, run_id=run_id, by=current().identity.subject, **more)


def _place(token: str) -> UUID | None:
    try:
        return UUID(token) if token else None
    except ValueError:
        raise errors.invalid_argument(
            "PAGE_TOKEN_INVALID", "page_token is not from an answer to this rpc"
        ) from None


def _changes(request: pb.ForkRunRequest) -> dict[str, Any]:
    """A Struct has no whole numbers: what looks like one is one."""
    return {name: _whole(each) for name, each in MessageToDict(request.set).items()}


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
