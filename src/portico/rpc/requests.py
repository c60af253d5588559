"""The client's stream of requests on its way to the servicer."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc

from portico.errors import StatusError
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from portico.context import Call
    from portico.rpc.transfer import Transfer

BUFFERED = 8
"""Messages that wait for a slow reader, on each side of a stream: in-process flow control."""

_log = logs.logger("portico.rpc")


class RequestStream:
    """The servicer's request iterator, fed by a thread that runs the caller's iterator.

    As behind a socket, the caller's iterator is read ahead of the servicer, a bounded number of
    messages; the servicer stops waiting when the call is given up or out of time.
    """

    def __init__(self, call: Call, requests: Iterable[Any], send: Transfer) -> None:
        self._call = call
        self._requests = requests
        self._send = send
        self._buffer: deque[Any] = deque()
        self._condition = threading.Condition()
        self._ended = False

    def start(self, fail: Callable[[StatusError], None]) -> None:
        """Begin reading; ``fail`` ends the call when the caller's iterator or a message is at fault."""
        self._call.add_callback(self._wake)
        threading.Thread(target=self._read, args=(fail,), name="portico-requests", daemon=True).start()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._condition:
            while not self._buffer:
                if self._ended:
                    raise StopIteration
                if not self._call.is_active():
                    raise grpc.RpcError  # what grpcio's servicer sees when its caller is gone
                self._condition.wait(self._call.time_remaining())
            message = self._buffer.popleft()
            self._condition.notify_all()
            return message

    def _read(self, fail: Callable[[StatusError], None]) -> None:
        try:
            for request in self._requests:
                if not self._put(self._send(request)):
                    return
        except StatusError as error:
            fail(error)
        except Exception:  # noqa: BLE001  # as grpcio: whatever the caller's iterator raises
            _log.warning("request_iterator_failed", method=self._call.method, exc_info=True)
            fail(StatusError(grpc.StatusCode.UNKNOWN, "Exception iterating requests!"))
        finally:
            with self._condition:
                self._ended = True
                self._condition.notify_all()

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
