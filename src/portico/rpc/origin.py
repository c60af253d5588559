"""Where a request enters: its identity, its request id and its trace, read from the metadata."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from portico.context import ANONYMOUS, Identity, Origin
from portico.errors import StatusError
from portico.telemetry import tracing

if TYPE_CHECKING:
    from portico.rpc.metadata import Metadata
    from portico.rpc.policy import Policy

REQUEST_ID_KEY = "x-request-id"
TRACE_KEY = "traceparent"
AUTHORIZATION_KEY = "authorization"

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def origin_of(metadata: Metadata, policy: Policy, *, public: bool) -> Origin:
    """The origin of a call that enters the process; UNAUTHENTICATED for a token that is not good.

    On a ``public`` method such a token is passed over: whoever refreshes a token sends a stale one.
    """
    authorization = request_id = trace = ""
    for key, value in metadata:
        if key == AUTHORIZATION_KEY:
            authorization = str(value)
        elif key == REQUEST_ID_KEY:
            request_id = str(value)
        elif key == TRACE_KEY:
            trace = str(value)
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = tracing.new_span_id() + tracing.new_span_id()
    parent = tracing.TraceParent.parse(trace) if trace else None
    trace_id, span_id = (parent.trace_id, parent.span_id) if parent else (tracing.new_trace_id(), "")
    identity = _identity(authorization, policy, public=public) if authorization else ANONYMOUS
    return Origin(identity, request_id, trace_id, span_id)


def _identity(authorization: str, policy: Policy, *, public: bool) -> Identity:
    if policy.authenticate is None:
        return ANONYMOUS
    try:
        return policy.authenticate(authorization)
    except StatusError:
        if public:
            return ANONYMOUS
        raise
