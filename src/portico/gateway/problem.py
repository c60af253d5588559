"""Errors as REST clients meet them: ``google.rpc.Status`` in JSON under the fitting HTTP status.

Source of the mapping: google/rpc/code.proto, as Envoy and every other transcoder has it.
"""

from __future__ import annotations

import base64
import json
import math
import re
import secrets
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from portico.gateway.exchange import Response
from portico.rpc.status import DETAILS_KEY, for_outsiders
from portico.telemetry import logs

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.protobuf.descriptor import Descriptor

    from portico.errors import StatusError

_Code = grpc.StatusCode

HTTP_STATUS = {
    _Code.OK: 200,
    _Code.CANCELLED: 499,
    _Code.UNKNOWN: 500,
    _Code.INVALID_ARGUMENT: 400,
    _Code.DEADLINE_EXCEEDED: 504,
    _Code.NOT_FOUND: 404,
    _Code.ALREADY_EXISTS: 409,
    _Code.PERMISSION_DENIED: 403,
    _Code.RESOURCE_EXHAUSTED: 429,
    _Code.FAILED_PRECONDITION: 400,
    _Code.ABORTED: 409,
    _Code.OUT_OF_RANGE: 400,
    _Code.UNIMPLEMENTED: 501,
    _Code.INTERNAL: 500,
    _Code.UNAVAILABLE: 503,
    _Code.DATA_LOSS: 500,
    _Code.UNAUTHENTICATED: 401,
}

DOMAIN = "portico"
"""The domain of reasons that are the gateway's own."""

JSON_HEADERS = (
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
)

# A plain status is among them: HTTP wants a challenge with a 401, and nothing speaks for another one.
_ABOUT_THE_TOKEN = frozenset({"", "SIGN_IN_REQUIRED", "TOKEN_EXPIRED", "TOKEN_INVALID"})
_LATER = frozenset({_Code.RESOURCE_EXHAUSTED, _Code.UNAVAILABLE})
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_FAULTS = frozenset({_Code.INTERNAL, _Code.UNKNOWN, _Code.DATA_LOSS})
_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_STEP = re.compile(r'([^.\[\]]+)((?:\["(?:[^"\\]|\\.)*"\]|\[[^\]]*\])*)')

_log = logs.logger("portico.gateway")


def respond(error: StatusError, request_id: str, message: Descriptor | None = None) -> Response:
    """The answer for ``error``.

    With ``message``, the rpc's request, paths of fields are the contract's and become JSON names.
    """
    code = error.code()
    headers = [*JSON_HEADERS, ("x-request-id", request_id)]
    if code is _Code.UNAUTHENTICATED and error.reason in _ABOUT_THE_TOKEN:
        headers.append(("www-authenticate", "Bearer"))
    if code in _FAULTS:
        body = _fault(error, request_id)
    else:
        others = _other_details(error)
        body = _status(error, message, [detail for detail, _ in others])
        waits = [wait for _, wait in others if wait] or _wait_of(error)
        headers.extend(("retry-after", wait) for wait in waits[:1])
    return Response(HTTP_STATUS.get(code, 500), headers, dumps(body))


def refuse(
    http_status: int,
    code: grpc.StatusCode,
    reason: str,
    text: str,
    request_id: str,
    *headers: tuple[str, str],
) -> Response:
    """An answer of the gateway itself, where HTTP has a status that gRPC has not."""
    number: int = code.value[0]
    body = {"code": number, "message": text, "details": [_info(reason, DOMAIN, {})]}
    found = [*JSON_HEADERS, ("x-request-id", request_id), *headers]
    return Response(http_status, found, dumps(body), refused=reason)


def dumps(value: object) -> bytes:
    """JSON in ASCII: whatever a message echoes, it can be written."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _status(
    error: StatusError, message: Descriptor | None, others: list[dict[str, Any]]
) -> dict[str, Any]:
    details: list[dict[str, Any]] = []
    text = for_outsiders(error)
    if error.reason or error.metadata:
        details.append(_info(error.reason, error.domain or DOMAIN, error.metadata))
    if error.violations:
        found = []
        for field, description, reason in error.violations:
            path = field if message is None else json_path(field, message)
            found.append({"field": path, "description": description, "reason": reason})
            if field and text.startswith(f"{field}:"):
                text = path + text[len(field) :]
        details.append({"@type": _BAD_REQUEST, "fieldViolations": found})
    number: int = error.code().value[0]
    return {"code": number, "message": text, "details": details + others}


def _fault(error: StatusError, request_id: str) -> dict[str, Any]:
    """A fault of ours is told in one plain sentence; what it was is in the log, under the error id."""
    error_id = error.metadata.get("error_id", "")
    if not error_id:
        error_id = secrets.token_hex(8)
        _log.error("unexplained", error_id=error_id, request_id=request_id, failure=repr(error))
    number: int = error.code().value[0]
    return {
        "code": number,
        "message": f"something went wrong on our side; error id {error_id}",
        "details": [_info("INTERNAL", error.domain or DOMAIN, {"error_id": error_id})],
    }


def _info(reason: str, domain: str, metadata: dict[str, str]) -> dict[str, Any]:
    return {"@type": _INFO, "reason": reason, "domain": domain, "metadata": metadata}


def _other_details(error: StatusError) -> list[tuple[dict[str, Any], str]]:
    """Details that the kernel's error has no place for, each with its ``Retry-After`` or nothing."""
    found = []
    for key, value in error.trailing_metadata():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                details = status_pb2.Status.FromString(value).details
            except DecodeError:
                continue
            found += [
                _other(each) for each in details if each.type_url not in {_INFO, _BAD_REQUEST}
            ]
    return found


def _wait_of(error: StatusError) -> list[str]:
    """The error's own ``retry_after_seconds``, as a whole number."""
    seconds = error.metadata.get("retry_after_seconds", "")
    if error.code() not in _LATER or not _SECONDS.fullmatch(seconds):
        return []
    return [str(math.ceil(float(seconds)))]


def _other(detail: AnyMessage) -> tuple[dict[str, Any], str]:
    wait = ""
    retry = error_details_pb2.RetryInfo()
    if detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
        delay = retry.retry_delay
        wait = str(max(delay.seconds + (delay.nanos > 0), 0))  # whole seconds, rounded up
    try:
        return json_format.MessageToDict(detail), wait
    except (json_format.Error, TypeError, DecodeError, ValueError):
        value = base64.b64encode(detail.value).decode("ascii")
        return {"@type": detail.type_url, "value": value}, wait


def json_path(path: str, message: Descriptor) -> str:
    """``items[0].unit_price`` as JSON names it: ``items[0].unitPrice``."""
    names = []
    inside: Descriptor | None = message
    for step in _STEP.finditer(path):
        name, subscripts = step.groups()
        field = None if inside is None else inside.fields_by_name.get(name)
        names.append((field.json_name if field else _camel(name)) + subscripts)
        inside = field.message_type if field else None
        if inside is not None and inside.GetOptions().map_entry:
            inside = inside.fields_by_name["value"].message_type
    return ".".join(names)


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)
