"""An open-loop load: calls go out by the clock, however long the answers take.

A closed loop waits for answers and so never overloads anybody. Here a call's time begins when it was due,
not when it could be sent: a server that makes its callers wait cannot hide it.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from portico.lab import http2

if TYPE_CHECKING:
    from types import TracebackType

_READ_BYTES = 256 * 1024
_NAP_SECONDS = 0.001


class Answers(NamedTuple):
    """What came of a load: seconds from when each call was due until its end, by how it ended.

    ``lost`` calls had no answer when the load gave up waiting. ``seconds`` is all the time that it took.
    """

    answered: list[float]
    refused: list[float]
    lost: int
    seconds: float


class OpenLoad:
    """Calls one rpc with one request over ``connections``. A context manager, which closes them."""

    def __init__(
        self,
        address: str,
        path: str,
        *,
        request: bytes,
        headers: tuple[tuple[str, str], ...] = (),
        timeout_seconds: int = 10,
        connections: int = 4,
    ) -> None:
        fields = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", address),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", f"{timeout_seconds}S"),
            *headers,
        )
        self._timeout_seconds = timeout_seconds
        self._connections = [
            _Connection(address, fields, http2.message(request)) for _ in range(connections)
        ]

    def run(self, *, calls_per_second: float, seconds: float) -> Answers:
        """Call at that rate for so long, then wait for the answers, no longer than the calls' timeout."""
        for each in self._connections:
            each.begin()
        began = time.perf_counter()
        total, sent = round(calls_per_second * seconds), 0
        while sent < total:
            due = min(int((time.perf_counter() - began) * calls_per_second) + 1, total)
            for number in range(sent, due):
                connection = self._connections[number % len(self._connections)]
                connection.call(began + number / calls_per_second)
            sent = due
            self._turn()
        until = time.perf_counter() + self._timeout_seconds
        while any(each.waiting for each in self._connections) and time.perf_counter() < until:
            self._turn()
        return Answers(
            [took for each in self._connections for took in each.answered],
            [took for each in self._connections for took in each.refused],
            sum(each.give_up() for each in self._connections),
            time.perf_counter() - began,
        )

    def _turn(self) -> None:
        by_socket = {each.socket: each for each in self._connections}
        unsent = [each.socket for each in self._connections if each.unsent]
        readable, writable, _ = select.select(list(by_socket), unsent, [], _NAP_SECONDS)
        for ready in readable:
            by_socket[ready].read()
        for ready in writable:
            by_socket[ready].send()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.socket.close()


class _Connection:
    """One HTTP/2 connection that is never waited for: what the socket does not take is kept."""

    def __init__(self, address: str, fields: tuple[tuple[str, str], ...], request: bytes) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)  # noqa: FBT003  # the socket's own interface
        self.answered: list[float] = []
        self.refused: list[float] = []
        self.unsent = bytearray(
            http2.PREFACE
            + http2.frame(http2.SETTINGS, 0, 0, b"")
            + http2.frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", http2.LARGEST_WINDOW >> 1))
        )
        self._first = http2.literals(fields)
        self._again = http2.indexes(len(fields))
        self._request = request
        self._stream = -1
        self._window = http2.FIRST_WINDOW
        self._kept: list[float] = []
        self._due: dict[int, float] = {}
        self._good: set[int] = set()
        self._unread = b""

    @property
    def waiting(self) -> bool:
        """Whether answers are under way."""
        return bool(self._due or self._kept)

    def begin(self) -> None:
        """Forget what was answered so far."""
        self.answered, self.refused = [], []

    def give_up(self) -> int:
        """Wait for nothing any more, and return for how many calls that was."""
        lost = len(self._due) + len(self._kept)
        self._due.clear()
        self._kept.clear()
        return lost

    def call(self, due: float) -> None:
        """Send a call that was due then, as soon as flow control lets it."""
        if self._window < len(self._request):
            self._kept.append(due)
            return
        self._window -= len(self._request)
        self._stream += 2
        block = self._first if self._stream == 1 else self._again
        self.unsent += http2.frame(http2.HEADERS, http2.END_HEADERS, self._stream, block)
        self.unsent += http2.frame(http2.DATA, http2.END_STREAM, self._stream, self._request)
        self._due[self._stream] = due
        self.send()

    def send(self) -> None:
        """Hand over to the socket what it takes."""
        try:
            sent = self.socket.send(self.unsent)
        except BlockingIOError:
            return
        del self.unsent[:sent]

    def read(self) -> None:
        """Read what has come."""
        data = self._unread + self.socket.recv(_READ_BYTES)
        if len(data) == len(self._unread):
            raise ConnectionError("the server closed the connection")
        at = 0
        while at + http2.FRAME_HEADER <= len(data):
            size, kind, flags, stream = http2.frame_header(data, at)
            end = at + http2.FRAME_HEADER + size
            if end > len(data):
                break
            self._take(kind, flags, stream, data[at + http2.FRAME_HEADER : end])
            at = end
        self._unread = data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == http2.DATA:
            self._good.add(stream)
        elif kind == http2.RESET or (kind == http2.HEADERS and flags & http2.END_STREAM):
            self._end(stream)
        elif kind == http2.WINDOW_UPDATE and stream == 0:
            self._window += struct.unpack(">I", payload)[0]
            kept, self._kept = self._kept, []
            for due in kept:
                self.call(due)
        elif kind in {http2.SETTINGS, http2.PING} and not flags & http2.ACK:
            answer = payload if kind == http2.PING else b""
            self.unsent += http2.frame(kind, http2.ACK, 0, answer)
            self.send()
        elif kind == http2.GOAWAY:
            raise ConnectionError(f"the server gave up: {payload!r}")

    def _end(self, stream: int) -> None:
        due = self._due.pop(stream, None)
        good = stream in self._good
        self._good.discard(stream)
        if due is not None:
            (self.answered if good else self.refused).append(time.perf_counter() - due)
