"""A remote call in progress, as its caller holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from portico.rpc.interfaces import Rpc
from portico.rpc.status import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from portico.errors import StatusError
    from portico.rpc.metadata import Metadata

TIME_IS_UP = "Deadline Exceeded"


class RemoteRpc(Rpc):
    """A remote call in progress; what it raises is a ``StatusError``."""

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return translating(self._rpc.__next__)

    def result(self, timeout: float | None = None) -> Any:
        """The response, or the error raised; ``grpc.FutureTimeoutError`` after ``timeout`` seconds."""
        return translating(self._rpc.result, timeout)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """The error the call ended with, if any."""
        found: Exception | None = self._rpc.exception(timeout)
        return translated(found) if isinstance(found, grpc.RpcError) else found

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """Where the error was raised, if any."""
        found: TracebackType | None = self._rpc.traceback(timeout)
        return found

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` with this call when it has ended; at once if it has."""
        self._rpc.add_done_callback(lambda _: fn(self))

    def initial_metadata(self) -> Metadata:
        """The servicer's headers; waits for them."""
        return tuple(self._rpc.initial_metadata() or ())

    def trailing_metadata(self) -> Metadata:
        """The servicer's trailers; waits for the end of the call."""
        return tuple(self._rpc.trailing_metadata() or ())

    def code(self) -> grpc.StatusCode:
        """The status code; waits for the end of the call."""
        code: grpc.StatusCode = self._rpc.code()
        return code

    def details(self) -> str:
        """The status message, empty for OK; waits for the end of the call."""
        return _worded(self.code(), self._rpc.details())

    def is_active(self) -> bool:
        """Whether the call has not ended."""
        return bool(self._rpc.is_active())

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        left: float | None = self._rpc.time_remaining()
        return left

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have ``callback`` called when the call ends; False when it has ended already."""
        return bool(self._rpc.add_callback(callback))

    def cancel(self) -> bool:
        """Give the call up; False when it has ended already."""
        return bool(self._rpc.cancel())

    def cancel_from_above(self) -> None:
        """The call that made this one was cancelled."""
        self._rpc.cancel()

    def cancelled(self) -> bool:
        """Whether the caller gave the call up."""
        return bool(self._rpc.cancelled())

    def running(self) -> bool:
        """Whether the call has not ended."""
        return bool(self._rpc.running())

    def done(self) -> bool:
        """Whether the call has ended."""
        return bool(self._rpc.done())


def translating(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What ``call`` returns; a ``StatusError`` for the error of grpcio's that it raises."""
    try:
        return call(*arguments, **options)
    except grpc.RpcError as failure:
        error = translated(failure)
    raise error


def translated(failure: grpc.RpcError) -> StatusError:
    """The kernel's error for one of grpcio's."""
    error = from_rpc_error(failure)
    error.message = _worded(error.code(), error.message)
    return error


def _worded(code: grpc.StatusCode, details: str | None) -> str:
    """The message, in one wording for a time that is up: grpcio has several, by who noticed first."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and details and TIME_IS_UP in details:
        return TIME_IS_UP
    return details or ""
