"""What the failure of a step says about whether the step happened."""

from __future__ import annotations

from typing import Any, NamedTuple

import grpc

from portico.errors import StatusError, Violation

_Code = grpc.StatusCode


class Outcome(NamedTuple):
    """How a step failed."""

    maybe: bool
    """It may have happened all the same: its answer was lost, or never given."""
    passing: bool
    """Later it may succeed; otherwise it was refused."""
    again: bool
    """It is worth another attempt at once."""


_REFUSED = Outcome(maybe=False, passing=False, again=False)
_BROKEN = Outcome(maybe=True, passing=False, again=False)
_LOST = Outcome(maybe=True, passing=True, again=True)
_NOT_NOW = Outcome(maybe=False, passing=True, again=True)
_NOT_SENT = Outcome(maybe=False, passing=True, again=False)

_BY_CODE = {
    _Code.UNAVAILABLE: _LOST,
    _Code.DEADLINE_EXCEEDED: _LOST,
    _Code.ABORTED: _NOT_NOW,
    _Code.CANCELLED: Outcome(maybe=True, passing=True, again=False),
    # Also what grpcio says when the answer is too large: then it has happened.
    _Code.RESOURCE_EXHAUSTED: _BROKEN,
    _Code.INTERNAL: _BROKEN,
    _Code.UNKNOWN: _BROKEN,
    _Code.DATA_LOSS: _BROKEN,
}
_BY_REASON = {
    "CIRCUIT_OPEN": _NOT_SENT,
    "BULKHEAD_FULL": _NOT_SENT,
    "OVERLOADED": _NOT_NOW,
    "DATABASE_POOL_EXHAUSTED": _NOT_NOW,
    "WORKFLOW_RUNNING": _LOST,
}


def outcome_of(error: BaseException) -> Outcome:
    """What ``error``, which a step raised, says about the step."""
    if not isinstance(error, StatusError):
        return _BROKEN  # whatever it is, it may have come after the command
    return _BY_REASON.get(error.reason) or _BY_CODE.get(error.code(), _REFUSED)


class StepFailed(Exception):  # noqa: N818  # how a step ended, not a fault
    """A step did not succeed, however often it was tried in the time there was."""

    def __init__(self, error: Exception, *, maybe: bool, passing: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.maybe = maybe
        self.passing = passing


def written(error: Exception) -> dict[str, Any]:
    """The error as the log keeps it; of one that is not a ``StatusError`` only what it says."""
    if not isinstance(error, StatusError):
        return {"code": _Code.INTERNAL.name, "message": f"{type(error).__name__}: {error}"}
    return {
        "code": error.code().name,
        "message": error.message,
        "reason": error.reason,
        "domain": error.domain,
        "metadata": error.metadata,
        "violations": [list(violation) for violation in error.violations],
    }


def read(record: dict[str, Any]) -> StatusError:
    """The same error again."""
    return StatusError(
        grpc.StatusCode[record["code"]],
        record["message"],
        reason=record.get("reason", ""),
        domain=record.get("domain", ""),
        metadata=record.get("metadata"),
        violations=[Violation(*each) for each in record.get("violations", ())],
    )
