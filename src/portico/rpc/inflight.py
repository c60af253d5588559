"""A local call in progress, as its caller holds it: a future, or a stream of responses."""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

from portico.errors import StatusError
from portico.rpc.requests import BUFFERED, RequestStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from portico.context import Call
    from portico.rpc.metadata import Metadata
    from portico.rpc.transfer import Transfer


class LocalRpc(grpc.Call, grpc.Future):
    """The caller's end of a call that runs in a thread of its own.

    The thread puts responses into a short buffer and waits while it is full. Whoever ends the call
    first decides its status: the servicer, ``cancel()``, or the deadline.
    """

    def __init__(self, call: Call, receive: Transfer) -> None:
        self._call = call
        self._receive = receive
        self._condition = threading.Condition()
        self._responses: deque[Any] = deque()
        self._streaming = False
        self._error: StatusError | None = None
        self._done = False
        self._given_up = False
        self._headers_sent = False
        self._callbacks: list[Callable[[], None]] = []

    @classmethod
    def finished(cls, call: Call, response: Any) -> LocalRpc:
        """A call that has succeeded."""
        rpc = cls(call, lambda message: message)
        rpc._responses.append(response)
        rpc._done = True
        return rpc

    @classmethod
    def failed(cls, error: StatusError) -> LocalRpc:
        """A call that failed before it reached a servicer."""
        from portico.context import root

        rpc = cls(root(), lambda message: message)
        rpc._error = error
        rpc._done = True
        return rpc

    def start(self, invoke: Callable[[Call, Any], Any], request: Any, *, streaming: bool) -> None:
        """Run the call; ``request`` is a message or a ``RequestStream``."""
        self._streaming = streaming
        self._call.on_headers = self._headers
        if isinstance(request, RequestStream):
            request.start(self._end)
        work = self._stream if streaming else self._single
        threading.Thread(
            target=work, args=(invoke, request), name="portico-call", daemon=True
        ).start()

    # grpc.Call

    def initial_metadata(self) -> Metadata:
        """The servicer's headers; waits for them."""
        self._wait(lambda: self._headers_sent or bool(self._responses) or self._done, None)
        if self._error is not None and not self._headers_sent:
            return self._error.initial_metadata()
        return self._call.sent_initial_metadata()

    def trailing_metadata(self) -> Metadata:
        """The servicer's trailers; waits for the end of the call."""
        self._wait(lambda: self._done, None)
        if self._error is not None:
            return self._error.trailing_metadata()
        return tuple(self._call.trailing_metadata() or ())

    def code(self) -> grpc.StatusCode:
        """The status code; waits for the end of the call."""
        self._wait(lambda: self._done, None)
        return grpc.StatusCode.OK if self._error is None else self._error.code()

    def details(self) -> str:
        """The status message; waits for the end of the call."""
        self._wait(lambda: self._done, None)
        return (self._call.details() or "") if self._error is None else self._error.message

    def is_active(self) -> bool:
        """Whether the call has not ended."""
        return not self._done

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return self._call.time_remaining()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have ``callback`` called when the call ends; False when it has ended already."""
        with self._condition:
            if self._done:
                return False
            self._callbacks.append(callback)
            return True

    # grpc.Future

    def cancel(self) -> bool:
        """Give the call up; the servicer sees it at its next look."""
        self._given_up = True
        return self._end(
            StatusError(grpc.StatusCode.CANCELLED, "Locally cancelled by application!"), drop=True
        )

    def cancelled(self) -> bool:
        """Whether the caller gave the call up."""
        return self._given_up

    def running(self) -> bool:
        """Whether the call has not ended."""
        return not self._done

    def done(self) -> bool:
        """Whether the call has ended."""
        return self._done

    def result(self, timeout: float | None = None) -> Any:
        """The response, or the error raised; ``grpc.FutureTimeoutError`` after ``timeout`` seconds."""
        self._settle(timeout)
        if self._error is not None:
            raise self._failure()
        return self._responses[0] if self._responses else None

    def exception(self, timeout: float | None = None) -> Exception | None:
        """The error the call ended with, if any."""
        self._settle(timeout)
        return self._error

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """Where the error was raised, if any."""
        error = self.exception(timeout)
        return error.traceback() if isinstance(error, StatusError) else None

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` with this call when it has ended; at once if it has."""
        if not self.add_callback(lambda: fn(self)):
            fn(self)

    # The stream of responses

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._wait(lambda: bool(self._responses) or self._done, None)
        with self._condition:
            if self._responses:
                self._condition.notify_all()
                return self._responses.popleft()
        if self._error is not None:
            raise self._failure()
        raise StopIteration

    # The thread's side

    def _single(self, invoke: Callable[[Call, Any], Any], request: Any) -> None:
        try:
            self._responses.append(self._receive(invoke(self._call, request)))
        except StatusError as error:
            self._end(error)
        else:
            self._end(None)

    def _stream(self, invoke: Callable[[Call, Any], Any], request: Any) -> None:
        responses = invoke(self._call, request)
        try:
            for response in responses:
                if not self._put(self._receive(response)):
                    break
        except StatusError as error:
            self._end(error)
        else:
            self._end(None)
        finally:
            responses.close()

    def _put(self, response: Any) -> bool:
        with self._condition:
            while len(self._responses) >= BUFFERED and not self._done:
                self._condition.wait(self._call.time_remaining())
                if self._past_deadline():
                    return False
            if self._done:
                return False
            self._responses.append(response)
            self._condition.notify_all()
            return True

    def _headers(self) -> None:
        with self._condition:
            self._headers_sent = True
            self._condition.notify_all()

    def _end(self, error: StatusError | None, *, drop: bool = False) -> bool:
        with self._condition:
            if self._done:
                return False
            self._done = True
            self._error = error
            if drop:  # as on a socket: what was not read is lost
                self._responses.clear()
            callbacks, self._callbacks = self._callbacks, []
            self._condition.notify_all()
        if error is not None:
            self._call.cancel()
        for callback in callbacks:
            callback()
        return True

    # Waiting

    def _settle(self, timeout: float | None) -> None:
        if not self._wait(lambda: self._done, timeout):
            raise grpc.FutureTimeoutError
        if self._given_up:
            raise grpc.FutureCancelledError

    def _wait(self, ready: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until ``ready``; ends the call itself when its deadline passes."""
        give_up_at = None if timeout is None else monotonic() + timeout
        while True:
            with self._condition:
                if ready():
                    return True
                left = _sooner(give_up_at, self._call.deadline)
                if left is None or left > 0:
                    self._condition.wait(left)
                    continue
            if self._past_deadline():
                self._end(
                    StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), drop=True
                )
            else:
                return ready()

    def _past_deadline(self) -> bool:
        deadline = self._call.deadline
        return deadline is not None and monotonic() >= deadline

    def _failure(self) -> StatusError:
        """A new exception each time: a raised one carries its traceback with it."""
        assert self._error is not None
        return self._error.copy()


def _sooner(*moments: float | None) -> float | None:
    set_ones = [moment for moment in moments if moment is not None]
    return None if not set_ones else min(set_ones) - monotonic()
