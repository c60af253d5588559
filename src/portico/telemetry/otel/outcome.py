"""How a call's end is written on its two spans: as opentelemetry-instrumentation-grpc writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from portico.errors import StatusError

if TYPE_CHECKING:
    from portico.telemetry.otel.span import Span

_Code = grpc.StatusCode

STATUS_CODE = "rpc.grpc.status_code"

# What is the server's fault; a caller who asked for something impossible is no error of the server.
_FAULTS = frozenset(
    {
        _Code.UNKNOWN,
        _Code.DEADLINE_EXCEEDED,
        _Code.UNIMPLEMENTED,
        _Code.INTERNAL,
        _Code.UNAVAILABLE,
        _Code.DATA_LOSS,
    }
)


def end_client(span: Span, error: BaseException | None) -> None:
    """The caller's side: whatever is not OK is an error."""
    if error is None:
        span.end()
        return
    span.note(STATUS_CODE, _code(error).value[0])
    span.end(error=f"{type(error).__name__}: {error}")


def end_server(span: Span, error: BaseException | None) -> None:
    """The servicer's side."""
    if error is None:
        span.end()
        return
    code = _code(error)
    span.note(STATUS_CODE, code.value[0])
    span.end(error=f"{code}:{error}" if code in _FAULTS else "")


def _code(error: BaseException) -> grpc.StatusCode:
    if isinstance(error, StatusError):
        return error.code()
    return _Code.CANCELLED if isinstance(error, GeneratorExit) else _Code.UNKNOWN
