"""A local call that runs in a thread of its own, between its two sides."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import closing, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

from portico.errors import StatusError
from portico.rpc.answering import call_all
from portico.rpc.requests import BUFFERED
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.context import Call
    from portico.rpc.metadata import Metadata

    Invoke = Callable[[Call, Any], Any]

_Code = grpc.StatusCode
_log = logs.logger("portico.rpc")


class Exchange:
    """What both sides of a call share: responses in a short buffer, and how the call ended.

    Whoever ends the call first decides its status: the servicer, the caller, or the deadline.
    ``under_way`` knows the call until it ends.
    """

    def __init__(self, call: Call, receive: Callable[[Any], Any], under_way: set[Exchange]) -> None:
        self.call = call
        self.error: StatusError | None = None
        self.done = False
        self.cancelled = False
        self._receive = receive
        self._under_way = under_way
        self._responses: deque[Any] = deque()
        self._has_headers = False
        self._callbacks: list[Callable[[], None]] = []
        self._alarm: threading.Timer | None = None
        self._condition = threading.Condition()
        call.on_headers = self._headers_sent
        under_way.add(self)

    # The caller's side

    def take(self) -> Any:
        """The next response; StopIteration or the call's error when there is none any more."""
        while True:
            self._wait(lambda: bool(self._responses) or self.done)
            with self._condition:
                if self._responses:
                    self._condition.notify_all()
                    return self._responses.popleft()
            if self.done:
                break
        if self.error is not None:
            raise self.error.copy()
        raise StopIteration

    def response(self) -> Any:
        """The response of a call that has succeeded; None when it was a stream and is read."""
        return self._responses[0] if self._responses else None

    def headers(self) -> Metadata:
        """The servicer's headers; waits until they have come, or will not come any more."""
        self._wait(lambda: self._has_headers or bool(self._responses) or self.done)
        return self.call.sent_headers()

    def trailers(self) -> Metadata:
        """The servicer's trailers; waits for the end."""
        self.wait_for_end()
        if self.error is not None:
            return self.error.trailing_metadata()
        return self.call.trailing_metadata() or ()

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return self.call.time_remaining()

    def wait_for_end(self, timeout: float | None = None) -> bool:
        """Whether the call ended within ``timeout`` seconds."""
        return self._wait(lambda: self.done, timeout)

    def has_ended(self) -> bool:
        """Whether the call is over: it is when its time is, whatever its servicer does."""
        return self.done or self._end_if_late()

    def at_end(self, callback: Callable[[], None]) -> bool:
        """Have ``callback`` called at the end of the call; False when it has ended."""
        with self._condition:
            if self.done:
                return False
            self._callbacks.append(callback)
            left = self.call.time_remaining()
            if left is not None and self._alarm is None:
                self._alarm = threading.Timer(left, self._end_if_late)
                self._alarm.daemon = True
                self._alarm.start()
            return True

    def cancel(self, details: str, *, by_caller: bool = False) -> bool:
        """Give the call up; the servicer sees it at its next look. False when it has ended."""
        return self._end(StatusError(_Code.CANCELLED, details), drop=True, by_caller=by_caller)

    def cancel_from_above(self) -> None:
        """The call that made this one was cancelled."""
        self.cancel("the calling call was cancelled")

    # The servicer's side

    def run_single(self, invoke: Invoke, request: Any) -> None:
        """Have one response made; the thread's work."""
        with self._ending():
            self._put(self._receive(invoke(self.call, request)))

    def run_stream(self, invoke: Invoke, request: Any) -> None:
        """Have a stream of responses made; the thread's work."""
        with self._ending(), closing(invoke(self.call, request)) as responses:
            for response in responses:
                if not self._put(self._receive(response)):
                    break

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """The call ends with the block: a caller is waiting, whatever happens in it."""
        try:
            yield
        except BaseException as failure:  # noqa: BLE001  # see above
            self.fail(failure)
        else:
            self._end(None)

    def fail(self, failure: BaseException) -> None:
        """End the call, unless it has ended; responses that came before are read first."""
        self._end(_known(failure))

    def _put(self, response: Any) -> bool:
        while True:
            with self._condition:
                if self.done:
                    return False
                if len(self._responses) < BUFFERED:
                    self._responses.append(response)
                    self._condition.notify_all()
                    return True
                left = self.call.time_remaining()
                if left is None or left > 0:
                    self._condition.wait(left)
                    continue
            self._end_if_late()

    def _headers_sent(self) -> None:
        with self._condition:
            self._has_headers = True
            self._condition.notify_all()

    # The end

    def _wait(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Whether ``ready`` came true within ``timeout`` seconds; the deadline ends the call."""
        give_up_at = None if timeout is None else monotonic() + timeout
        while True:
            with self._condition:
                if ready():
                    return True
                left = _sooner(give_up_at, self.call.deadline)
                if left is None or left > 0:
                    self._condition.wait(left)
                    continue
            if not self._end_if_late():
                return ready()

    def _end_if_late(self) -> bool:
        deadline = self.call.deadline
        if deadline is None or monotonic() < deadline:
            return False
        self._end(StatusError(_Code.DEADLINE_EXCEEDED, "Deadline Exceeded"), drop=True)
        return True

    def _end(
        self, error: StatusError | None, *, drop: bool = False, by_caller: bool = False
    ) -> bool:
        with self._condition:
            if self.done:
                return False
            self.done = True
            self.error = error
            self.cancelled = by_caller
            if drop:  # as on a socket: what was not read is lost
                self._responses.clear()
            callbacks, self._callbacks = self._callbacks, []
            self._condition.notify_all()
        self.call.on_headers = None
        if self._alarm is not None:
            self._alarm.cancel()
        self._under_way.discard(self)
        if error is not None:
            self.call.cancel()
        call_all(callbacks)
        return True


def _known(failure: BaseException) -> StatusError:
    if isinstance(failure, StatusError):
        return failure
    _log.error("unexpected", exc_info=failure)
    return StatusError(_Code.INTERNAL, "something went wrong on our side")


def _sooner(*moments: float | None) -> float | None:
    set_ones = [moment for moment in moments if moment is not None]
    return None if not set_ones else min(set_ones) - monotonic()
