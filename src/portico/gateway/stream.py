"""A server's stream of messages as newline-delimited JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc

from portico.errors import internal
from portico.gateway import problem
from portico.gateway.codec import UnprintableError
from portico.gateway.exchange import Response
from portico.gateway.kinds import descriptor_of
from portico.rpc.status import from_rpc_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message

    from portico.errors import StatusError
    from portico.gateway.answer import Written

_LINES = "application/x-ndjson"
_JSON = "application/json"


class Stream:
    """A call whose answer comes in pieces: one line of JSON for each message.

    An error before the first message is an answer as any other. A later one is the last line,
    ``{"error": {"code": …, "message": …, "details": […]}}``: the HTTP status has been sent by then.
    The raw bodies of a stream of ``google.api.HttpBody`` follow each other as they are.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        message: Message,
        timeout: float,
        metadata: list[tuple[str, str]],
        answer: Callable[[Message], Written],
        request_id: str,
    ) -> None:
        self._call = call
        self._message = message
        self._timeout = timeout
        self._metadata = metadata
        self._answer = answer
        self._request_id = request_id
        self.on_end: Callable[[Response], None] | None = None
        """Told, maybe more than once, that the answer has been sent or given up."""

    def begin(self) -> Response:
        """Make the call and wait for its first message, or its end."""
        response = self._begun()
        return response if self.on_end is None else _watched(response, self.on_end)

    def _begun(self) -> Response:
        request_id = ("x-request-id", self._request_id)
        try:
            messages: Any = self._call(
                self._message, timeout=self._timeout, metadata=self._metadata
            )
            first = next(messages, None)
            if first is None:
                empty = [("content-type", _LINES), *problem.JSON_HEADERS[1:], request_id]
                return Response(200, empty)
            body, headers = self._answer(first)
        except grpc.RpcError as error:
            return self._refusal(from_rpc_error(error))
        except UnprintableError as failure:
            messages.cancel()
            return self._refusal(internal("UNPRINTABLE", str(failure)))
        lines = headers[0][1] == _JSON
        kind = ("content-type", _LINES if lines else headers[0][1])
        chunks = self._chunks(body, messages, lines=lines)
        return Response(
            200,
            [kind, *headers[1:], request_id],
            chunks=chunks,
            close=messages.cancel,
        )

    def _chunks(self, first: bytes, messages: Iterator[Message], *, lines: bool) -> Iterator[bytes]:
        end = b"\n" if lines else b""
        yield first + end
        try:
            for message in messages:
                yield self._answer(message)[0] + end
        except grpc.RpcError as error:
            failure = from_rpc_error(error)
        except UnprintableError as error:
            failure = internal("UNPRINTABLE", str(error))
        else:
            return
        if failure.code() is not grpc.StatusCode.CANCELLED and lines:
            yield b'{"error":' + self._refusal(failure).body + b"}\n"

    def _refusal(self, error: StatusError) -> Response:
        return problem.respond(error, self._request_id, descriptor_of(self._message))


def _watched(response: Response, on_end: Callable[[Response], None]) -> Response:
    """The same, telling ``on_end`` when it is over."""
    if response.chunks is None:
        on_end(response)
        return response

    def chunks(inner: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from inner
        finally:
            on_end(response)

    def close() -> None:
        response.close()
        on_end(response)

    return replace(response, chunks=chunks(response.chunks), close=close)
