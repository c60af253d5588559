"""Runs as messages of ``portico.v1.WorkflowService``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from portico.v1 import workflow_service_pb2 as pb
from portico.workflow.run import Status

if TYPE_CHECKING:
    from datetime import datetime

    from portico.workflow.records import Record

HIDDEN = "[hidden]"

_STATUSES = {
    Status.RUNNING: pb.RUN_STATUS_RUNNING,
    Status.DONE: pb.RUN_STATUS_DONE,
    Status.UNDONE: pb.RUN_STATUS_UNDONE,
    Status.DEAD: pb.RUN_STATUS_DEAD,
}
_BY_NUMBER = {number: status for status, number in _STATUSES.items()}


def status_of(number: int) -> Status | None:
    """The status of this number; None when it is not set."""
    return _BY_NUMBER.get(pb.RunStatus.ValueType(number))


def run(record: Record) -> pb.Run:
    """What a list says of it."""
    found = record.run
    return pb.Run(
        id=str(found.id),
        module=record.module,
        name=found.name,
        version=found.version,
        subject=found.subject,
        status=_STATUSES[found.status],
        undo=found.is_undone,
        step=found.step,
        next_step=record.next_step,
        attempts=found.attempts,
        next_attempt_at=_timestamp(record.next_attempt_at),
        created_at=_timestamp(found.created_at),
        updated_at=_timestamp(record.updated_at),
    )


def details(record: Record, *, reveal: bool) -> pb.GetRunResponse:
    """All about it; without ``reveal`` no text of its states and errors."""
    found = record.run
    return pb.GetRunResponse(
        run=run(record),
        key=found.key if reveal else HIDDEN,
        steps=record.steps,
        first_state=_struct(record.first_state, reveal=reveal),
        state=_struct(found.state, reveal=reveal),
        owner=found.owner,
        lease_until=_timestamp(record.lease_until),
        error=_error(found.error, reveal=reveal),
        last_error=record.last_error if reveal else record.last_error.partition(":")[0],
        user=found.headers.get("subject", ""),
        request_id=found.headers.get("request_id", ""),
        trace_id=found.headers.get("trace_id", ""),
        fork_of=found.headers.get("fork_of", ""),
    )


def without_texts(value: Any) -> Any:
    """``value`` with every text in it hidden: any may be personal."""
    if isinstance(value, dict):
        return {key: without_texts(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_texts(each) for each in value]
    return HIDDEN if isinstance(value, str) and value else value


def _error(error: dict[str, Any] | None, *, reveal: bool) -> Struct | None:
    if error is None:
        return None
    kept = error if reveal else {key: error.get(key, "") for key in ("code", "reason")}
    return _struct(kept, reveal=True)


def _struct(value: dict[str, Any], *, reveal: bool) -> Struct:
    struct = Struct()
    struct.update(value if reveal else without_texts(value))
    return struct


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
