"""A ``StatusError`` as ``google.rpc.Status``, and back.

The typed part travels where every gRPC library looks for it: the trailer
``grpc-status-details-bin``, with ``ErrorInfo`` and ``BadRequest`` inside.
Source: https://google.aip.dev/193 and grpc's richer error model.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.errors import StatusError
    from portico.rpc.metadata import Metadata

DETAILS_KEY = "grpc-status-details-bin"

_UNREACHABLE = "a part of this service cannot be reached; try again"

# gRPC's core in its own words: there is no code for what it says itself and nothing else marks it.
_OF_THE_TRANSPORT = re.compile(
    r"failed to connect to all addresses|connections to all backends failing|errors resolving"
    r"|empty address list|Stream removed|Socket closed|Connection reset|Broken pipe|Endpoint closing"
    r"|Transport closed|GOAWAY|keepalive watchdog|recvmsg:|sendmsg:|\b(ipv4|ipv6|unix|dns):"
)


def for_outsiders(error: StatusError) -> str:
    """The error's message, without what the transport says about addresses inside."""
    return _UNREACHABLE if _OF_THE_TRANSPORT.search(error.message) else error.message


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
    details: bytes = to_status(error).SerializeToString(deterministic=True)
    return details


def from_rpc_error(error: grpc.RpcError) -> StatusError:
    """The kernel's error for one that any gRPC library raised; a ``StatusError`` is returned as it is.

    Unknown kinds of details are kept in ``trailing_metadata()``.
    """
    from portico.errors import StatusError

    if isinstance(error, StatusError):
        return error
    return from_parts(
        _told(error, "code") or grpc.StatusCode.UNKNOWN,
        _told(error, "details") or "",
        initial=tuple(_told(error, "initial_metadata") or ()),
        trailing=tuple(_told(error, "trailing_metadata") or ()),
    )


def from_parts(
    code: grpc.StatusCode, message: str, *, initial: Metadata = (), trailing: Metadata = ()
) -> StatusError:
    """The error a status and its trailers describe."""
    from portico.errors import StatusError, Violation

    info, violations = error_details_pb2.ErrorInfo(), []
    for detail in _details(trailing):
        if isinstance(detail, error_details_pb2.ErrorInfo):
            info = detail
        else:
            violations += [
                Violation(each.field, each.description, each.reason)
                for each in detail.field_violations
            ]
    return StatusError(
        code,
        message,
        reason=info.reason,
        domain=info.domain,
        metadata=info.metadata,
        violations=violations,
        initial=initial,
        trailing=trailing,
    )


def _details(trailing: Metadata) -> Iterator[Any]:
    """The details of the kinds that a ``StatusError`` has room for."""
    for packed in _all_details(trailing):
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest):
            if packed.Is(kind.DESCRIPTOR):
                try:
                    yield kind.FromString(packed.value)
                except DecodeError:  # a foreign server's mistake must not hide its status code
                    continue


def _all_details(trailing: Metadata) -> list[any_pb2.Any]:
    for key, value in trailing:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:  # the same
                return []
    return []


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def _told(error: grpc.RpcError, name: str) -> Any:
    """What the error's method ``name`` returns; a bare ``grpc.RpcError`` has none."""
    method = getattr(error, name, None)
    return None if method is None else method()
