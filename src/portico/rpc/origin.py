"""Where a request enters: its request id, its trace and its token, read from the metadata."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from portico.context import ANONYMOUS, Origin
from portico.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.context import Call

REQUEST_ID_KEY = "x-request-id"
TRACE_KEY = "traceparent"
AUTHORIZATION_KEY = "authorization"

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def origin_of(metadata: Mapping[str, str | bytes]) -> Origin:
    """The origin of a call that enters the process with ``metadata``, for nobody as yet."""
    if not metadata:
        return Origin(ANONYMOUS)
    request_id, trace = metadata.get(REQUEST_ID_KEY, ""), metadata.get(TRACE_KEY)
    parent = None if trace is None else tracing.TraceParent.parse(str(trace))
    return Origin(
        ANONYMOUS,
        str(request_id) if _REQUEST_ID.fullmatch(str(request_id)) else "",
        parent.trace_id if parent else "",
        parent.span_id if parent else "",
    )


def take_token(call: Call, metadata: Mapping[str, str | bytes]) -> None:
    """Note the token in ``metadata``, if there is one, for the pipeline to verify.

    A call made inside another may name a user of its own, as it may over a network.
    """
    token = metadata.get(AUTHORIZATION_KEY)
    if token is None:
        return
    call.unverified, call.unusual = str(token), True
    if call.parent is not None:
        above = call.origin
        call.origin = Origin(ANONYMOUS, above.request_id, above.trace_id, above.span_id)
