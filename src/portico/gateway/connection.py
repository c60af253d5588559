"""One HTTP/1.1 connection, with limits on what uvicorn leaves open: the head of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from portico.gateway.problem import refuse
from portico.gateway.refusal import log_refusal

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from portico.gateway.exchange import Response
    from portico.gateway.limits import Limits

ABORT = "portico.abort"
"""The ASGI extension that cuts the connection: a function without arguments."""

_UPGRADE = frozenset({b"connection", b"upgrade", b"http2-settings"})
_INVALID = grpc.StatusCode.INVALID_ARGUMENT


class _RefusedError(Exception):
    """The head of the request is over a limit."""


class BoundedConnection(HttpToolsProtocol):
    """Counts connections, and the bytes, lines and seconds of a request's head.

    The parser keeps what it is given until a header is complete; so bytes are counted as they come
    in. What is refused is answered with ``google.rpc.Status``, and the connection is closed.
    """

    limits: Limits
    leaving = False
    """Set for all connections of a server: whether each is closed with its next answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""
        self._in_head = True
        self._upgrading = False
        self._head_bytes = 0
        self._seen_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._refusal: Response | None = None

    @classmethod
    def bounded_by(cls, limits: Limits) -> type[BoundedConnection]:
        """The class with its limits, as uvicorn wants it: it makes the instances."""
        return type(cls.__name__, (cls,), {"limits": limits})

    # The transport's side

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._end(
                refuse(503, grpc.StatusCode.UNAVAILABLE, "TOO_MANY_CONNECTIONS",
                       "too many connections; try again", "", ("retry-after", "1"))
            )  # fmt: skip
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._expect_head()
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._in_head and self._head_bytes > self.limits.head_bytes:
            self._end(_too_large(self.limits))

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            unclear = refuse(400, _INVALID, "MALFORMED_HTTP", "this is not HTTP/1.1", "")
            self._end(self._refusal or unclear)

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Go on as if the client had not offered another protocol, as RFC 9110 (7.8) lets a server.

        The parser takes what follows the head for that protocol and drops the body; so a new one
        gets the head without the offer. Clients that offer HTTP/2 do it with their first request.
        """
        closes = any(
            key == b"connection" and b"close" in value.lower() for key, value in self.headers
        )
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self._version())]
        lines += [b"%s: %s" % each for each in self.headers if each[0] not in _UPGRADE]
        lines += [b"connection: close"] if closes else []
        self._upgrading = False
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join([*lines, b"", rest]))

    def _version(self) -> bytes:
        return self.parser.get_http_version().encode("ascii")

    # The parser's side

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]  # our own
        self._in_head = True
        self._seen_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.limits.target_bytes:
            self._refuse(
                refuse(414, _INVALID, "TARGET_TOO_LONG",
                       f"path and query may take {self.limits.target_bytes} bytes", "")
            )  # fmt: skip

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._seen_bytes += len(name) + len(value)
        if self._seen_bytes > self.limits.head_bytes or len(self.headers) > self.limits.headers:
            self._refuse(_too_large(self.limits))

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            text = "CONNECT is not served here"
            self._refuse(refuse(405, grpc.StatusCode.UNIMPLEMENTED, "METHOD_NOT_ALLOWED", text, ""))
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        self._in_head = False
        self._head_bytes = 0
        self._cancel_timer()
        super().on_headers_complete()
        if self.leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        super().on_message_complete()
        self._in_head = True
        self.url = b""  # what comes next is not about it

    # Ending

    def leave(self) -> None:
        """Close with the answer that is being made, if its head has not been sent; else with the next one."""
        serving: RequestResponseCycle | None = self.cycle
        if serving is not None and not serving.response_started:
            serving.keep_alive = False

    def _refuse(self, response: Response) -> None:
        self._refusal = response
        raise _RefusedError

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_seconds, self._head_too_slow)

    def _head_too_slow(self) -> None:
        if self._head_bytes:
            self._end(
                refuse(408, grpc.StatusCode.DEADLINE_EXCEEDED, "HEAD_TOO_SLOW",
                       f"a request's head may take {self.limits.head_seconds:g} seconds", "")
            )  # fmt: skip
        else:
            self.transport.close()

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end(self, response: Response) -> None:
        """Answer and close; a request that is still being served gets its own answer first."""
        self._cancel_timer()
        serving: RequestResponseCycle | None = self.cycle
        if serving is not None and not serving.response_complete:
            serving.keep_alive = False
            self.flow.pause_reading()
            return
        if not self.transport.is_closing():
            # Before it is known, the parser says DELETE.
            method = self.parser.get_method() if self.url else b""
            path = self.url.partition(b"?")[0]
            log_refusal(method.decode("latin-1"), path.decode("latin-1"), response)
            self.transport.write(_written(response))
        self.transport.close()


def _too_large(limits: Limits) -> Response:
    text = f"a request's head may take {limits.head_bytes} bytes and {limits.headers} headers"
    return refuse(431, _INVALID, "HEAD_TOO_LARGE", text, "")


def _written(response: Response) -> bytes:
    """The whole answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {response.status} "]
    lines += [f"{name}: {value}" for name, value in response.headers if value]
    lines += [f"content-length: {len(response.body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("ascii") + response.body
