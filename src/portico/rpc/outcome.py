"""How a call ended: the servicer's failure as a status, and the line in the log."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import grpc

from portico.context import entered
from portico.errors import StatusError
from portico.rpc import status
from portico.rpc.answering import Aborted
from portico.rpc.fitting import fitting
from portico.telemetry import logs

if TYPE_CHECKING:
    from portico.context import Call

_Code = grpc.StatusCode
_REFUSED_HOPS = frozenset({"CALLER_NOT_ALLOWED", "CALLER_NOT_CERTIFIED", "PASSPORT_INVALID"})
_FAULTS = frozenset({_Code.INTERNAL, _Code.UNKNOWN, _Code.DATA_LOSS})

_log = logs.logger("portico.rpc")


def ended_badly(call: Call) -> None:
    """Raise what the servicer left on the call: a code that is not OK, or a cancellation."""
    if call.marked:
        raise Aborted


def translated(call: Call, failure: BaseException) -> StatusError:
    """The status that the caller gets for what the servicer raised.

    A typed error keeps its content, unless it says that another process does not know this one: two
    processes that do not fit together are a fault of theirs. ``abort`` and ``set_code`` speak for
    themselves, as in grpcio. Anything else is INTERNAL: the caller gets an error id, the log the rest.
    """
    initial, trailing = call.sent_headers(), call.trailing_metadata() or ()
    if _nobody_waits(call, failure):
        if not isinstance(failure, (Aborted, grpc.RpcError)):
            _log_unexpected(call, failure, "")
        return StatusError(_Code.CANCELLED, "CANCELLED", initial=initial)
    if isinstance(failure, StatusError) and not _is_ours_to_mend(failure):
        return fitting(failure.passed_on(domain=_package(call), initial=initial, trailing=trailing))
    code, details = call.code(), call.details() or ""
    error_id = ""
    if not (isinstance(failure, Aborted) or _is_unimplemented(code, failure)):
        error_id = secrets.token_hex(8)
        _log_unexpected(call, failure, error_id)
        details = details or f"something went wrong on our side; error id {error_id}"
    if code is not None and code is not _Code.OK:
        return fitting(status.from_parts(code, details, initial=initial, trailing=trailing))
    return fitting(
        StatusError(
            _Code.INTERNAL,
            details,
            reason="INTERNAL",
            domain=_package(call),
            metadata={"error_id": error_id},
            initial=initial,
            trailing=trailing,
        )
    )


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


def _is_ours_to_mend(failure: StatusError) -> bool:
    """Whether another process refused a module of this one: no client can do anything about that.

    It came from there if it has a domain; what this process refuses itself goes to its caller as it is.
    """
    return failure.reason in _REFUSED_HOPS and bool(failure.domain)


def _is_unimplemented(code: grpc.StatusCode | None, failure: BaseException) -> bool:
    """Whether the servicer left the generated method as it was."""
    return code is _Code.UNIMPLEMENTED and isinstance(failure, NotImplementedError)


def _nobody_waits(call: Call, failure: BaseException) -> bool:
    """Whether the call was cancelled; a request iterator may tell the servicer before we are told."""
    return call.cancelled or (type(failure) is grpc.RpcError and not call.is_active())


def _log_unexpected(call: Call, failure: BaseException, error_id: str) -> None:
    with entered(call):
        _log.error("unexpected", error_id=error_id, method=call.method, exc_info=failure)


def _package(call: Call) -> str:
    return call.method.strip("/").partition("/")[0].rpartition(".")[0]
