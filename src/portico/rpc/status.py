"""A ``StatusError`` as ``google.rpc.Status``, and back.

The typed part travels where every gRPC library looks for it: the trailer
``grpc-status-details-bin``, with ``ErrorInfo`` and ``BadRequest`` inside.
Source: https://google.aip.dev/193 and grpc's richer error model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from portico.errors import StatusError

DETAILS_KEY = "grpc-status-details-bin"


def to_status(error: StatusError) -> status_pb2.Status:
    """The error as ``google.rpc.Status``; the details are empty for a plain status."""
    number: int = error.code().value[0]
    found = status_pb2.Status(code=number, message=error.message)
    if error.reason or error.metadata:
        info = error_details_pb2.ErrorInfo(
            reason=error.reason, domain=error.domain, metadata=error.metadata
        )
        found.details.append(_packed(info))
    if error.violations:
        request = error_details_pb2.BadRequest()
        for field, description, reason in error.violations:
            request.field_violations.add(field=field, description=description, reason=reason)
        found.details.append(_packed(request))
    return found


def details_bin(error: StatusError) -> bytes | None:
    """The trailer's value, or None when code and message say it all."""
    if not (error.reason or error.metadata or error.violations):
        return None
    return to_status(error).SerializeToString()


def from_rpc_error(error: grpc.RpcError) -> StatusError:
    """The kernel's error for one that any gRPC library raised; a ``StatusError`` is returned as it is.

    Unknown kinds of details are kept in ``trailing_metadata()``.
    """
    from portico.errors import StatusError

    if isinstance(error, StatusError):
        return error
    initial = tuple(_call(error, "initial_metadata") or ())
    trailing = tuple((key, value) for key, value in _call(error, "trailing_metadata") or ())
    code = _call(error, "code") or grpc.StatusCode.UNKNOWN
    return from_parts(code, _call(error, "details") or "", initial=initial, trailing=trailing)


def from_parts(
    code: grpc.StatusCode,
    message: str,
    *,
    initial: tuple[tuple[str, str | bytes], ...] = (),
    trailing: tuple[tuple[str, str | bytes], ...] = (),
) -> StatusError:
    """The error a status and its trailers describe."""
    from portico.errors import StatusError, Violation

    reason, domain, facts, violations = "", "", {}, []
    for detail in _details(trailing):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            reason, domain, facts = info.reason, info.domain, dict(info.metadata)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest.FromString(detail.value)
            violations += [
                Violation(each.field, each.description, each.reason)
                for each in request.field_violations
            ]
    return StatusError(
        code,
        message,
        reason=reason,
        domain=domain,
        metadata=facts,
        violations=violations,
        initial=initial,
        trailing=trailing,
    )


def _details(trailing: tuple[tuple[str, str | bytes], ...]) -> list[any_pb2.Any]:
    for key, value in trailing:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:  # a foreign server's mistake must not hide its status code
                return []
    return []


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def _call(error: grpc.RpcError, name: str):  # type: ignore[no-untyped-def]  # grpc.RpcError declares no methods
    method = getattr(error, name, None)
    return None if method is None else method()
