"""How a call ended: the servicer's failure as a status, and the line in the log."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import grpc

from portico import errors
from portico.context import Aborted, entered
from portico.errors import StatusError
from portico.rpc import status
from portico.telemetry import logs

if TYPE_CHECKING:
    from portico.context import Call

_OK = grpc.StatusCode.OK
_FAULTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})


def ended_badly(call: Call) -> None:
    """Raise what the servicer left on the call: a code that is not OK, or a cancellation."""
    code = call.code()
    if code is not None and code is not _OK:
        raise Aborted
    if call._cancelled:  # noqa: SLF001  # the pipeline and the call are one piece
        raise StatusError(grpc.StatusCode.CANCELLED, "the call was cancelled")


def translated(call: Call, failure: Exception) -> StatusError:
    """The status that the caller gets for what the servicer raised.

    A typed error keeps its content. ``abort`` and ``set_code`` speak for themselves, as in grpcio.
    Anything else is INTERNAL: the caller gets an error id, the log the rest.
    """
    initial, trailing = call.sent_initial_metadata(), tuple(call.trailing_metadata() or ())
    if isinstance(failure, StatusError):
        return StatusError(
            failure.code(),
            failure.message,
            reason=failure.reason,
            domain=failure.domain or (_package(call) if failure.reason else ""),
            metadata=failure.metadata,
            violations=failure.violations,
            initial=initial,
            trailing=(*trailing, *_kept_details(failure)),
        )
    code = call.code()
    if code is not None and code is not _OK:
        return status.from_parts(code, call.details() or "", initial=initial, trailing=trailing)
    return _unknown(call, failure, initial, trailing)


def log_outcome(
    call: Call, code: grpc.StatusCode, seconds: float, error: StatusError | None = None
) -> None:
    """One line per call: information, or an error when the fault is ours."""
    facts: dict[str, object] = {
        "method": call.method,
        "caller": call.caller,
        "code": code.name,
        "duration_ms": round(seconds * 1000, 3),
    }
    if error is not None:
        facts |= {"reason": error.reason, "message": error.message}
    with entered(call):
        (_log.error if code in _FAULTS else _log.info)("call", **facts)


_log = logs.logger("portico.rpc")


def _unknown(
    call: Call,
    failure: Exception,
    initial: errors.Metadata,
    trailing: errors.Metadata,
) -> StatusError:
    error_id = secrets.token_hex(8)
    with entered(call):
        _log.error("unexpected", error_id=error_id, method=call.method, exc_info=failure)
    return StatusError(
        grpc.StatusCode.INTERNAL,
        f"something went wrong on our side; error id {error_id}",
        reason="INTERNAL",
        domain=_package(call),
        metadata={"error_id": error_id},
        initial=initial,
        trailing=trailing,
    )


def _package(call: Call) -> str:
    return call.method.strip("/").partition("/")[0].rpartition(".")[0]


def _kept_details(failure: StatusError) -> tuple[tuple[str, str | bytes], ...]:
    """Details of kinds this kernel does not know, handed on as they came."""
    return tuple(pair for pair in failure._trailing if pair[0] == status.DETAILS_KEY)  # noqa: SLF001
