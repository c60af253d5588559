"""The client's stream of requests on its way to the servicer."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc

from portico.errors import StatusError
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.context import Call

BUFFERED = 8
"""Messages that wait for a slow reader, on each side of a stream: in-process flow control."""

_log = logs.logger("portico.rpc")


class RequestStream:
    """The servicer's request iterator, fed by a thread that runs the caller's iterator.

    As behind a socket, the caller's iterator is read ahead of the servicer, a bounded number of
    messages; the servicer stops waiting when the call is given up or out of time. ``fail`` ends the
    call when the caller's iterator or one of its messages is at fault.
    """

    def __init__(
        self,
        call: Call,
        requests: Iterator[Any],
        send: Callable[[Any], Any],
        fail: Callable[[BaseException], object],
    ) -> None:
        self._call = call
        self._requests = requests
        self._send = send
        self._fail = fail
        self._buffer: deque[Any] = deque()
        self._condition = threading.Condition()
        self._ended = False
        call.add_callback(self._wake)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._condition:
            while self._call.is_active():
                if self._buffer:
                    self._condition.notify_all()
                    return self._buffer.popleft()
                if self._ended:
                    raise StopIteration
                self._condition.wait(self._call.time_remaining())
        if self._call.over:
            raise StopIteration
        raise grpc.RpcError  # what grpcio's servicer sees when its caller is gone

    def read(self) -> None:
        """Take the caller's messages, to the last or until nobody wants them; the thread's work."""
        try:
            while self._put(self._send(self._next_request())):
                pass
        except StopIteration:
            pass
        except BaseException as failure:  # noqa: BLE001  # a servicer is waiting
            self._fail(failure)
        finally:
            with self._condition:
                self._ended = True
                self._condition.notify_all()

    def _next_request(self) -> Any:
        try:
            return next(self._requests)
        except StopIteration:
            raise
        except Exception:  # noqa: BLE001  # as grpcio: whatever the caller's iterator raises
            _log.warning("request_iterator_failed", method=self._call.method, exc_info=True)
        raise StatusError(grpc.StatusCode.UNKNOWN, "Exception iterating requests!")

    def _put(self, message: Any) -> bool:
        with self._condition:
            while len(self._buffer) >= BUFFERED and self._call.is_active():
                self._condition.wait(self._call.time_remaining())
            if not self._call.is_active():
                return False
            self._buffer.append(message)
            self._condition.notify_all()
            return True

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()
