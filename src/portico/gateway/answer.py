"""From an rpc's response message to the body of an HTTP answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.api.httpbody_pb2 import HttpBody

from portico.gateway.problem import JSON_HEADERS
from portico.gateway.rules import find_field

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from portico.gateway.codec import Codec
    from portico.gateway.rules import Route

    Written = tuple[bytes, tuple[tuple[str, str], ...]]
    """A body and the headers that describe it."""

_HTTP_BODY = HttpBody.DESCRIPTOR.full_name
_RAW_HEADERS = JSON_HEADERS[1:]
_BINARY = "application/octet-stream"


def compile_answer(route: Route, codec: Codec) -> Callable[[Message], Written]:
    """How this route's responses are written: whole, one field of them, or the raw body inside.

    What is returned raises ``UnprintableError`` for a message that has no JSON.
    """
    output = route.method.output_type
    if not route.response_body:
        return _raw if output.full_name == _HTTP_BODY else _whole(codec)
    field = find_field(output, route.response_body)[0]
    if field.message_type is None or field.is_repeated:
        return _one_field(codec, field.json_name)
    write = _raw if field.message_type.full_name == _HTTP_BODY else _whole(codec)
    name = field.name
    return lambda message: write(getattr(message, name))


def _whole(codec: Codec) -> Callable[[Message], Written]:
    encode = codec.encode
    return lambda message: (encode(message), JSON_HEADERS)


def _one_field(codec: Codec, json_name: str) -> Callable[[Message], Written]:
    def write(message: Message) -> Written:
        value = json.loads(codec.encode(message)).get(json_name)
        return json.dumps(value, separators=(",", ":")).encode("ascii"), JSON_HEADERS

    return write


def _raw(body: Any) -> Written:
    return body.data, (("content-type", body.content_type or _BINARY), *_RAW_HEADERS)
