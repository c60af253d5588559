"""A span for every REST request that has a route, with the call it comes to below it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from portico.gateway.exchange import Response
from portico.rpc.origin import TRACE_KEY
from portico.telemetry.otel.span import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry import trace

    from portico.gateway.exchange import Request
    from portico.gateway.stream import Stream
    from portico.telemetry.otel.parentage import Parentage

    Serve = Callable[[Any, Request, list[str], str], Response | Stream]

_SERVER_ERROR = 500


def traced(serve: Serve, tracer: trace.Tracer, parentage: Parentage) -> Serve:
    """``serve`` with a span around each request; it gets the span as the request's ``traceparent``."""

    def serve_traced(
        endpoint: Any, request: Request, segments: list[str], request_id: str
    ) -> Response | Stream:
        route = endpoint.route
        attributes = {
            "http.request.method": request.method,
            "http.route": str(route.template),
            "url.scheme": "http",
        }
        sent = tuple(pair for pair in request.headers if pair[0] == TRACE_KEY)[:1]
        with parentage.of(None, sent) as above:
            name = f"{route.http_method} {route.template}"
            span = Span.started(tracer, above, name, "server", attributes)
        others = (pair for pair in request.headers if pair[0] != TRACE_KEY)
        inside = replace(request, headers=((TRACE_KEY, str(span.place)), *others))
        try:
            answer = serve(endpoint, inside, segments, request_id)
        except BaseException as error:
            span.end(error=f"{type(error).__name__}: {error}")
            raise
        if isinstance(answer, Response):
            _end(span, answer)
            return answer
        answer.on_end = partial(_end, span)
        return answer

    return serve_traced


def _end(span: Span, response: Response) -> None:
    span.note("http.response.status_code", response.status)
    span.end(error=str(response.status) if response.status >= _SERVER_ERROR else "")
