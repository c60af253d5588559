"""Where a request enters: its request id, its trace and its token, read from the metadata."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from portico.context import ANONYMOUS, Origin
from portico.telemetry import tracing

if TYPE_CHECKING:
    from portico.context import Call
    from portico.rpc.metadata import Metadata

REQUEST_ID_KEY = "x-request-id"
TRACE_KEY = "traceparent"
AUTHORIZATION_KEY = "authorization"

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def origin_of(metadata: Metadata) -> Origin:
    """The origin of a call that enters the process, for nobody as yet."""
    request_id = trace = ""
    for key, value in metadata:
        if key == REQUEST_ID_KEY:
            request_id = str(value)
        elif key == TRACE_KEY:
            trace = str(value)
    parent = tracing.TraceParent.parse(trace) if trace else None
    return Origin(
        ANONYMOUS,
        request_id if _REQUEST_ID.fullmatch(request_id) else "",
        parent.trace_id if parent else "",
        parent.span_id if parent else "",
    )


def take_token(call: Call, metadata: Metadata) -> None:
    """Note the token in ``metadata`` for the pipeline to verify.

    A call made inside another may name a user of its own, as it may over a network.
    """
    for key, value in metadata:
        if key == AUTHORIZATION_KEY:
            call.unverified = str(value)
            if call.parent is not None:
                above = call.origin
                call.origin = Origin(ANONYMOUS, above.request_id, above.trace_id, above.span_id)
            return
