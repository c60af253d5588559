"""A local call as its caller holds it: a future, or a stream of responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from portico.rpc.interfaces import Rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from portico.errors import StatusError
    from portico.rpc.ended import Ended
    from portico.rpc.exchange import Exchange
    from portico.rpc.metadata import Metadata


class LocalRpc(Rpc):
    """The caller's end of an exchange; like grpcio's, it cancels the call when nobody holds it any more."""

    def __init__(self, exchange: Exchange | Ended) -> None:
        self._exchange = exchange

    def __del__(self) -> None:
        if not self._exchange.done:
            self._exchange.cancel("Cancelled upon garbage collection!", by_caller=True)

    # grpc.Call

    def initial_metadata(self) -> Metadata:
        """The servicer's headers; waits for them."""
        return self._exchange.headers()

    def trailing_metadata(self) -> Metadata:
        """The servicer's trailers; waits for the end of the call."""
        return self._exchange.trailers()

    def code(self) -> grpc.StatusCode:
        """The status code; waits for the end of the call."""
        error = self._error()
        return grpc.StatusCode.OK if error is None else error.code()

    def details(self) -> str:
        """The status message, empty for OK; waits for the end of the call."""
        error = self._error()
        return "" if error is None else error.message

    def is_active(self) -> bool:
        """Whether the call has not ended."""
        return not self._exchange.has_ended()

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return self._exchange.time_remaining()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have ``callback`` called when the call ends; False when it has ended already."""
        return self._exchange.at_end(callback)

    # grpc.Future

    def cancel(self) -> bool:
        """Give the call up; False when it has ended already."""
        return self._exchange.cancel("Locally cancelled by application!", by_caller=True)

    def cancelled(self) -> bool:
        """Whether the caller gave the call up."""
        return self._exchange.cancelled

    def running(self) -> bool:
        """Whether the call has not ended."""
        return not self._exchange.has_ended()

    def done(self) -> bool:
        """Whether the call has ended."""
        return self._exchange.has_ended()

    def result(self, timeout: float | None = None) -> Any:
        """The response, or the error raised; ``grpc.FutureTimeoutError`` after ``timeout`` seconds."""
        self._settle(timeout)
        if self._exchange.error is not None:
            raise self._exchange.error.copy()
        return self._exchange.response()

    def exception(self, timeout: float | None = None) -> StatusError | None:
        """The error the call ended with, if any."""
        self._settle(timeout)
        return self._exchange.error

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """Where the error was raised, if any."""
        error = self.exception(timeout)
        return None if error is None else error.traceback()

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` with this call when it has ended; at once if it has."""
        if not self.add_callback(lambda: fn(self)):
            fn(self)

    # The stream of responses

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._exchange.take()

    def _error(self) -> StatusError | None:
        self._exchange.wait_for_end()
        return self._exchange.error

    def _settle(self, timeout: float | None) -> None:
        if not self._exchange.wait_for_end(timeout):
            raise grpc.FutureTimeoutError
        if self._exchange.cancelled:
            raise grpc.FutureCancelledError
