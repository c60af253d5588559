"""The gateway as an ASGI application: bodies and streams under limits, calls in threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc

from portico.gateway.connection import ABORT
from portico.gateway.exchange import Request
from portico.gateway.probes import ALIVE, alive
from portico.gateway.problem import refuse
from portico.gateway.refusal import log_refusal
from portico.gateway.stream import Stream
from portico.gateway.workers import OverloadedError, in_own_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from portico.gateway.exchange import Headers, Response
    from portico.gateway.gateway import Gateway
    from portico.gateway.limits import Limits
    from portico.gateway.workers import Workers

    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]

_CLOSE = ("connection", "close")
_THROWN_AWAY = 32
"""How many times its limit is read of a body before the connection is cut."""
_STREAM_THREAD = "portico-http-stream"


class Application:
    """Reads the request, has it answered in a thread, and sends the answer.

    A streamed answer has a thread of its own, so that calls do not wait for it.
    """

    def __init__(self, gateway: Gateway, *, workers: Workers) -> None:
        self._gateway = gateway
        self._limits = gateway.limits
        self._workers = workers
        self._streaming = 0

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        headers = [
            (key.decode("latin-1"), value.decode("latin-1")) for key, value in scope["headers"]
        ]
        try:
            body = await _read_body(headers, receive, self._limits)
            request = Request(
                method=scope["method"],
                path=scope["raw_path"].decode("ascii"),
                query=scope["query_string"].decode("latin-1"),
                headers=headers,
                body=body,
            )
            answer = await self._answer(request)
            if isinstance(answer, Stream):
                await self._stream(answer, receive, send, scope["extensions"][ABORT])
                return
        except _RefusedError as refused:
            answer = self._refused(scope, headers, *refused.args)
        except OverloadedError:
            answer = self._unavailable(scope, headers, "OVERLOADED", "too much to do; try again")
        except asyncio.CancelledError:  # the server ends and has waited long enough
            text = "this server goes away; try again"
            answer = self._unavailable(scope, headers, "STOPPING", text)
        except _GoneError:
            return
        await _send(answer, send)

    async def _answer(self, request: Request) -> Response | Stream:
        if request.path == ALIVE and request.method in {"GET", "HEAD"}:
            return alive()  # also when every thread is busy
        return await self._workers.run(self._gateway.dispatch, request)

    async def _stream(
        self, stream: Stream, receive: Receive, send: Send, abort: Callable[[], None]
    ) -> None:
        """Carry one streamed answer to its end. One that breaks off ends the connection with it."""
        if self._streaming >= self._limits.streams:
            raise OverloadedError
        self._streaming += 1
        try:
            response = await in_own_thread(Stream.begin, stream, name=_STREAM_THREAD)
            if response.chunks is None:
                await _send(response, send)
            else:
                whole = await self._carry(response, response.chunks, receive, send)
                if not whole:
                    abort()
                    await asyncio.sleep(0)  # lets uvicorn notice
        finally:
            self._streaming -= 1

    async def _carry(
        self, response: Response, chunks: Iterator[bytes], receive: Receive, send: Send
    ) -> bool:
        """Send the chunks until one side has enough; whether the client got them all."""
        await send(_start(response))
        pump = _Pump(send, asyncio.get_running_loop(), self._limits.send_seconds)
        sent = asyncio.ensure_future(in_own_thread(pump.run, chunks, name=_STREAM_THREAD))
        gone = asyncio.ensure_future(_disconnect(receive))
        try:
            await asyncio.wait({gone, sent}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the server ends and has waited long enough
            return False
        finally:
            gone.cancel()
            response.close()
        if whole := await sent:
            await send({"type": "http.response.body", "body": b""})
        return whole

    def _refused(
        self,
        scope: Any,
        headers: Headers,
        status: int,
        code: grpc.StatusCode,
        reason: str,
        text: str,
        *more: tuple[str, str],
    ) -> Response:
        request_id = self._gateway.request_id(headers)
        answer = refuse(status, code, reason, text, request_id, *more, _CLOSE)
        log_refusal(scope["method"], scope["raw_path"].decode("latin-1"), answer)
        return answer

    def _unavailable(self, scope: Any, headers: Headers, reason: str, text: str) -> Response:
        code, later = grpc.StatusCode.UNAVAILABLE, ("retry-after", "1")
        return self._refused(scope, headers, 503, code, reason, text, later)


class _Pump:
    """Carries chunks from a blocking iterator to the loop, no faster than the client reads."""

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._send = send
        self._loop = loop
        self._seconds = seconds

    def run(self, chunks: Iterator[bytes]) -> bool:
        """Send everything; False when the client does not read any more."""
        for chunk in chunks:
            message = {"type": "http.response.body", "body": chunk, "more_body": True}
            sending = asyncio.run_coroutine_threadsafe(self._sent(message), self._loop)
            try:
                sending.result()
            except (TimeoutError, CancelledError):
                return False
        return True

    async def _sent(self, message: dict[str, Any]) -> None:
        async with asyncio.timeout(self._seconds):
            await self._send(message)


class _RefusedError(Exception):
    """The request is answered before it is whole: with a status, a reason and a text."""


class _GoneError(Exception):
    """The client went away."""


async def _read_body(headers: Headers, receive: Receive, limits: Limits) -> bytes:
    """The whole body, or ``_RefusedError``: too large, too slow.

    Too large a body is read to its end, up to a ceiling, and thrown away: a client that is still
    sending would not read the answer.
    """
    length = next((value for key, value in headers if key == "content-length"), None)
    if length is None and not any(key == "transfer-encoding" for key, _ in headers):
        return b""
    expects = any(key == "expect" for key, _ in headers)
    if length is not None and int(length) > limits.body_bytes and expects:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _collect(receive, limits)
    except TimeoutError:
        text = f"the body may take {limits.body_seconds:g} seconds"
        late = grpc.StatusCode.DEADLINE_EXCEEDED
        raise _RefusedError(408, late, "BODY_TOO_SLOW", text) from None


async def _collect(receive: Receive, limits: Limits) -> bytes:
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limits.body_bytes:
            chunks.append(chunk)
        elif size > limits.body_bytes * _THROWN_AWAY:
            raise _too_large(limits)
        else:
            chunks.clear()
        more = message.get("more_body", False)
    if size > limits.body_bytes:
        raise _too_large(limits)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limits: Limits) -> _RefusedError:
    text = f"the body may take {limits.body_bytes} bytes"
    return _RefusedError(413, grpc.StatusCode.INVALID_ARGUMENT, "BODY_TOO_LARGE", text)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(response: Response, send: Send) -> None:
    await send(_start(response))
    await send({"type": "http.response.body", "body": response.body})


def _start(response: Response) -> dict[str, Any]:
    headers = [(key.encode("ascii"), value.encode("latin-1")) for key, value in response.headers]
    if response.chunks is None and response.status != HTTPStatus.NO_CONTENT:
        headers.append((b"content-length", b"%d" % len(response.body)))
    return {"type": "http.response.start", "status": response.status, "headers": headers}
