"""Looking after the runs of several processes in one place. See the contract, ``portico.v1.WorkflowService``."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from heapq import merge
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import grpc

from portico import errors
from portico.errors import StatusError
from portico.rpc.origin import AUTHORIZATION_KEY
from portico.v1 import workflow_service_pb2 as pb
from portico.v1.workflow_service_pb2_grpc import WorkflowServiceServicer
from portico.workflow.runs import DEFAULT_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from portico.rpc.metadata import Metadata
    from portico.v1.workflow_service_pb2_grpc import WorkflowServiceStub

_Code = grpc.StatusCode
_SHARE_FOR_ANSWER = 0.1
_LONGEST_FOR_ANSWER_SECONDS = 0.5
_NOT_FOUND = "RUN_NOT_FOUND"
_NO_ANSWER = frozenset({_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.RESOURCE_EXHAUSTED})


class Branch(NamedTuple):
    """A process that runs workflows, the modules whose they are, and the way there."""

    process: str
    modules: Sequence[str]
    service: WorkflowServiceStub


class EverywhereServicer(WorkflowServiceServicer):
    """The runs of all branches.

    The token of whoever asks goes along, and each branch judges it anew: nobody here vouches for a user.
    """

    def __init__(self, branches: Iterable[Branch]) -> None:
        self._branches = list(branches)

    def ListRuns(  # noqa: N802  # the contract's name
        self, request: pb.ListRunsRequest, context: grpc.ServicerContext
    ) -> pb.ListRunsResponse:
        """One page of every branch, or of the module's alone, merged.

        A page token is the id of a run wherever it was given out: the same one goes to all.
        """
        chosen = [each for each in self._branches if request.module in ("", *each.modules)]
        asked = _ask(chosen, "ListRuns", request, context)
        pages = [page for page in map(_answer, asked) if page is not None]
        if request.module and not pages:
            raise errors.not_found(
                "MODULE_NOT_FOUND",
                f"no module {request.module} runs workflows",
                module=request.module,
            )
        youngest_first = merge(*(page.runs for page in pages), key=_id, reverse=True)
        runs = list(islice(youngest_first, request.page_size or DEFAULT_SIZE))
        are_all = len(runs) == sum(len(page.runs) for page in pages)
        is_last = are_all and not any(page.next_page_token for page in pages)
        return pb.ListRunsResponse(runs=runs, next_page_token="" if is_last else runs[-1].id)

    def GetRun(  # noqa: N802
        self, request: pb.GetRunRequest, context: grpc.ServicerContext
    ) -> pb.GetRunResponse:
        """From the branch that has it."""
        return self._find(request, context)[1]

    def RetryRun(  # noqa: N802
        self, request: pb.RetryRunRequest, context: grpc.ServicerContext
    ) -> pb.RetryRunResponse:
        """At the branch that has it."""
        with self._home(request.run_id, context) as service:
            return service.RetryRun(request, **_terms(context))

    def CancelRun(  # noqa: N802
        self, request: pb.CancelRunRequest, context: grpc.ServicerContext
    ) -> pb.CancelRunResponse:
        """At the branch that has it."""
        with self._home(request.run_id, context) as service:
            return service.CancelRun(request, **_terms(context))

    def ForkRun(  # noqa: N802
        self, request: pb.ForkRunRequest, context: grpc.ServicerContext
    ) -> pb.ForkRunResponse:
        """At the branch that has it."""
        with self._home(request.run_id, context) as service:
            return service.ForkRun(request, **_terms(context))

    def _find(
        self, request: pb.GetRunRequest, context: grpc.ServicerContext
    ) -> tuple[Branch, pb.GetRunResponse]:
        """The run, and whose it is. A branch that does not answer matters only when no other has it."""
        failure: StatusError | None = None
        for each in _ask(self._branches, "GetRun", request, context):
            try:
                found = _answer(each)
            except StatusError as error:
                failure = error
                continue
            if found is not None:
                return each.branch, found
        raise failure or errors.not_found(_NOT_FOUND, "there is no such run", run_id=request.run_id)

    @contextmanager
    def _home(self, run_id: str, context: grpc.ServicerContext) -> Iterator[WorkflowServiceStub]:
        """The way to the branch that has the run, which is named when it does not answer."""
        branch, _ = self._find(pb.GetRunRequest(run_id=run_id), context)
        with _named(branch):
            yield branch.service


class _Asked(NamedTuple):
    branch: Branch
    rpc: Any


def _ask(
    branches: Sequence[Branch], method: str, request: Any, context: grpc.ServicerContext
) -> Iterator[_Asked]:
    """Ask all at once; each as soon as it has ended. Whom nobody waits for any more need not go on."""
    ended: SimpleQueue[_Asked] = SimpleQueue()
    rpcs = []
    try:
        for branch in branches:
            rpc = getattr(branch.service, method).future(request, **_terms(context))
            rpcs.append(rpc)
            rpc.add_done_callback(partial(_put, ended, branch))
        for _ in rpcs:
            yield ended.get()
    finally:
        for rpc in rpcs:
            rpc.cancel()


def _put(ended: SimpleQueue[_Asked], branch: Branch, rpc: Any) -> None:
    ended.put(_Asked(branch, rpc))


def _answer(asked: _Asked) -> Any | None:
    """What the branch says; None when it runs no workflows, or has no such run."""
    with _named(asked.branch):
        try:
            return asked.rpc.result()
        except StatusError as refusal:
            if refusal.code() is _Code.UNIMPLEMENTED or refusal.reason == _NOT_FOUND:
                return None
            raise


@contextmanager
def _named(branch: Branch) -> Iterator[None]:
    """Say which branch it is that does not answer."""
    try:
        yield
    except StatusError as refusal:
        if refusal.code() not in _NO_ANSWER:
            raise
        code = refusal.code()
    else:
        return
    modules = ", ".join(branch.modules)
    raise StatusError(
        code,
        f"process {branch.process}, which runs the workflows of {modules}, gives no answer",
        reason="PROCESS_UNREACHABLE",
        metadata={"process": branch.process},
    )


class _Terms(TypedDict):
    metadata: Metadata
    timeout: float | None


def _terms(context: grpc.ServicerContext) -> _Terms:
    """The caller's token, and so much of its time that it still hears who gave no answer."""
    left = context.time_remaining()
    return {
        "metadata": tuple(
            pair for pair in context.invocation_metadata() if pair[0] == AUTHORIZATION_KEY
        ),
        "timeout": left and left - min(left * _SHARE_FOR_ANSWER, _LONGEST_FOR_ANSWER_SECONDS),
    }


def _id(run: pb.Run) -> str:
    return run.id
