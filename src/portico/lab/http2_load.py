"""A load generator that costs less than what it measures: one rpc, over and over, on raw HTTP/2.

A grpcio client spends as much processor time on a call as a grpcio server, so with one it is the
client that is measured. Here the frames of the request are made once and sent again and again, and of
an answer only the frames are read. An answer counts when its message is, byte for byte, the expected
one, and its stream was ended by the server.
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


class Load(NamedTuple):
    """What came of a load."""

    calls: int
    seconds: float

    @property
    def calls_per_second(self) -> float:
        """The rate over the whole time."""
        return self.calls / self.seconds


class WrongAnswerError(Exception):
    """The server did not answer as expected, so that a rate would mean nothing."""


class Caller:
    """Calls one rpc with one request, ``in_flight`` calls at a time over each of ``connections``.

    A context manager, which closes them. ``headers`` go along with every call. Raises
    ``WrongAnswerError`` at the first answer that is not ``response``.
    """

    def __init__(
        self,
        address: str,
        path: str,
        *,
        request: bytes,
        response: bytes,
        headers: tuple[tuple[str, str], ...] = (),
        connections: int = 4,
        in_flight: int = 8,
    ) -> None:
        self._in_flight = in_flight
        self._connections = [
            _Connection(address, path, headers, http2.message(request), http2.message(response))
            for _ in range(connections)
        ]

    def run(self, seconds: float) -> Load:
        """Call for that long, then wait for the answers that are under way."""
        began = time.perf_counter()
        before = sum(each.answered for each in self._connections)
        for connection in self._connections:
            connection.call(self._in_flight)
        while time.perf_counter() < began + seconds:
            self._turn(again=True)
        while any(each.waiting for each in self._connections):
            self._turn(again=False)
        calls = sum(each.answered for each in self._connections) - before
        return Load(calls, time.perf_counter() - began)

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

    def _turn(self, *, again: bool) -> None:
        by_socket = {each.socket: each for each in self._connections}
        readable, _, _ = select.select(list(by_socket), [], [], 1)
        for ready in readable:
            connection = by_socket[ready]
            answered = connection.read()
            connection.call(answered if again else 0)


class _Connection:
    """One HTTP/2 connection, as a client."""

    def __init__(
        self,
        address: str,
        path: str,
        headers: tuple[tuple[str, str], ...],
        request: bytes,
        response: bytes,
    ) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answered = 0
        self._request = request
        self._response = response
        self._fields = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", address),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", "10S"),
            *headers,
        )
        self._stream = -1
        self._window = http2.FIRST_WINDOW
        self._owed = 0
        self._asked: set[int] = set()
        self._good: set[int] = set()
        self._unread = b""
        self.socket.sendall(
            http2.PREFACE
            + http2.frame(http2.SETTINGS, 0, 0, b"")
            + http2.frame(
                http2.WINDOW_UPDATE,
                0,
                0,
                struct.pack(">I", http2.LARGEST_WINDOW - http2.FIRST_WINDOW),
            )
        )

    @property
    def waiting(self) -> bool:
        """Whether answers are under way."""
        return bool(self._asked or self._owed)

    def call(self, times: int) -> None:
        """Send the request ``times`` times more, as soon as flow control lets it."""
        self._owed += times
        times = min(self._owed, self._window // len(self._request))
        self._owed -= times
        self._window -= times * len(self._request)
        frames = []
        for _ in range(times):
            self._stream += 2
            first = self._stream == 1
            block = http2.literals(self._fields) if first else http2.indexes(len(self._fields))
            frames.append(http2.frame(http2.HEADERS, http2.END_HEADERS, self._stream, block))
            frames.append(http2.frame(http2.DATA, http2.END_STREAM, self._stream, self._request))
            self._asked.add(self._stream)
        self.socket.sendall(b"".join(frames))

    def read(self) -> int:
        """Read what has come, and return how many calls it answered."""
        data = self._unread + self.socket.recv(_READ_BYTES)
        if len(data) == len(self._unread):
            raise WrongAnswerError("the server closed the connection")
        before, at = self.answered, 0
        while at + http2.FRAME_HEADER <= len(data):
            size, kind, flags, stream = http2.frame_header(data, at)
            end = at + http2.FRAME_HEADER + size
            if end > len(data):
                break
            self._take(kind, flags, stream, data[at + http2.FRAME_HEADER : end])
            at = end
        self._unread = data[at:]
        return self.answered - before

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == http2.DATA:
            if payload != self._response:
                raise WrongAnswerError(f"not the expected message: {payload!r}")
            self._good.add(stream)
        elif kind == http2.HEADERS:
            if flags & http2.END_STREAM:
                self._end(stream)
        elif kind == http2.WINDOW_UPDATE:
            if stream == 0:
                self._window += struct.unpack(">I", payload)[0]
        elif kind in {http2.SETTINGS, http2.PING}:
            if not flags & http2.ACK:
                self.socket.sendall(
                    http2.frame(kind, http2.ACK, 0, payload if kind == http2.PING else b"")
                )
        elif kind in {http2.RESET, http2.GOAWAY}:
            raise WrongAnswerError(f"the server gave up: {payload!r}")

    def _end(self, stream: int) -> None:
        if stream not in self._good:
            raise WrongAnswerError("a call failed: it ended without a message")
        self._good.remove(stream)
        self._asked.remove(stream)
        self.answered += 1
