"""Calls refused before they cost anything: when the queue for the server's threads stands.

grpcio asks its interceptors for a call's handler before it gives the call a thread and before it reads the
request. The handler that it gets here for a call too many answers at once, in the thread that asked:
its request is declared a stream only so that nobody waits for it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from portico.resilience.turns import TURNS
from portico.rpc.guard import OVERLOADED
from portico.rpc.status import DETAILS_KEY
from portico.rpc.workers import Task
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.rpc.interfaces import Handler
    from portico.rpc.workers import Workers

_MESSAGE = "too many calls wait for this server"
_RETRY_AFTER_SECONDS = 1
_NEVER_SHED = ("/grpc.",)  # health and reflection: whoever looks after the server must see it
_CALM_SECONDS = 10.0

_log = logs.logger("portico.rpc")


class Shedding(grpc.ServerInterceptor):
    """Refuses calls that would wait too long for ``workers``.

    They end in RESOURCE_EXHAUSTED with reason OVERLOADED and a ``RetryInfo``. The first is told in the
    log, and so is the calm afterwards; in between the threads of the process take shorter turns.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._refused_at: float | None = None
        self._handler = _refusal()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, or the one that refuses."""
        if not _is_spared(handler_call_details) and self._workers.refuse():
            self._press()
            return self._handler
        if self._refused_at is not None:
            self._relax(self._refused_at)
        return continuation(handler_call_details)

    def close(self) -> None:
        """There will be no more calls."""
        if self._refused_at is not None:
            self._refused_at = None
            TURNS.restore()

    def _press(self) -> None:
        if self._refused_at is None:
            TURNS.shorten()
            _log.warning("calls_shed", waiting=self._workers.waiting)
        self._refused_at = monotonic()

    def _relax(self, refused_at: float) -> None:
        if monotonic() - refused_at >= _CALM_SECONDS:
            self.close()
            _log.info("calls_shed_no_more", refused=self._workers.refused)


class _AtOnce(ThreadPoolExecutor):
    """An executor in name, which is what grpcio accepts: it works where it is asked to, and has no threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        task = Task(lambda: fn(*args, **kwargs))
        task.run()
        return task


def _refusal() -> Handler:
    trailers = ((DETAILS_KEY, _details()),)

    def refuse(_: object, context: grpc.ServicerContext) -> NoReturn:
        context.set_trailing_metadata(trailers)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _MESSAGE)

    refuse.experimental_thread_pool = _AtOnce(1)  # type: ignore[attr-defined]  # grpcio looks for it here
    handler: Handler = grpc.stream_unary_rpc_method_handler(refuse)
    return handler


def _details() -> bytes:
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message=_MESSAGE)
    for detail in (
        error_details_pb2.ErrorInfo(reason=OVERLOADED, domain="portico"),
        error_details_pb2.RetryInfo(
            retry_delay=duration_pb2.Duration(seconds=_RETRY_AFTER_SECONDS)
        ),
    ):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    told: bytes = status.SerializeToString()
    return told


def _is_spared(details: grpc.HandlerCallDetails) -> bool:
    method: Any = details.method
    return (method.decode() if isinstance(method, bytes) else method).startswith(_NEVER_SHED)
