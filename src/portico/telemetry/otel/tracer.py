"""What makes the spans of a process: of calls near and far, REST requests and reactions."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.context import attach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from portico.context import Origin
from portico.rpc.origin import TRACE_KEY
from portico.telemetry.otel import rest
from portico.telemetry.otel.local import LocalPair
from portico.telemetry.otel.parentage import Parentage, TraceIds
from portico.telemetry.otel.span import Span
from portico.telemetry.otel.wire import Wire
from portico.telemetry.tracing import TraceParent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.sdk.trace import SpanProcessor

    from portico.context import Call
    from portico.rpc.interfaces import Handler
    from portico.rpc.metadata import Metadata
    from portico.telemetry.otel.local import Invoke
    from portico.telemetry.otel.rest import Serve
    from portico.telemetry.otel.span import Attributes

    AnyCall = TypeVar("AnyCall", bound=Call)

_KERNEL = "/portico.v1."
"""Services of the kernel's own: what it does for itself depends on the placement, and has no spans."""


class Tracer:
    """One per process. Each method is asked once, when a method, a route or a channel is set up."""

    def __init__(
        self,
        *,
        application: str,
        process: str,
        processors: Sequence[SpanProcessor],
        ratio: float = 1.0,
    ) -> None:
        """``ratio`` of the traces that begin here are recorded, between 0 and 1.

        A trace that began elsewhere is recorded if it is there. ``processors`` get the spans.
        """
        ids = TraceIds()
        self._provider = TracerProvider(
            resource=Resource(
                {
                    "service.name": application,
                    "service.instance.id": process,
                    "process.pid": os.getpid(),
                }
            ),
            sampler=ParentBasedTraceIdRatio(ratio),
            id_generator=ids,
            shutdown_on_exit=False,
        )
        for processor in processors:
            self._provider.add_span_processor(processor)
        self._otel = self._provider.get_tracer("portico")
        self._parentage = Parentage(ids)
        self._wire = Wire(self._provider, self._parentage)

    def local(self, path: str, invoke: Invoke, *, stream: bool) -> Invoke:
        """``invoke`` with both spans of a local call; ``stream``: its responses are one."""
        if path.startswith(_KERNEL):
            return invoke
        pair = LocalPair(self._otel, self._parentage, path)
        return pair.stream(invoke) if stream else pair.single(invoke)

    def inside(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        """A servicer's method, for which OpenTelemetry's own current span is that of its call.

        So that what other libraries make of their own belongs to the trace too.
        """

        def with_span(request: Any, call: Call) -> Any:
            if call.span is not None:
                attach(call.span.context)  # in a context that ends with the call
            return behaviour(request, call)

        return with_span

    def calling(self, path: str, inner: Any, *, stream: bool) -> Any:
        """``inner``, grpcio's callable, with the span of a remote call; ``stream``: either way."""
        return inner if path.startswith(_KERNEL) else self._wire.calling(path, inner, stream=stream)

    def served(self, path: str, handler: Handler) -> Handler:
        """``handler``, which grpcio calls, with the span of a call that comes in."""
        return handler if path.startswith(_KERNEL) else self._wire.served(path, handler)

    def opening(self, path: str, opened: Callable[[Any], AnyCall]) -> Callable[[Any], AnyCall]:
        """``opened``, which makes the call inside a served handler; it gets the span and its ids."""
        return opened if path.startswith(_KERNEL) else partial(self._adopted, opened)

    def _adopted(self, opened: Callable[[Any], AnyCall], context: Any) -> AnyCall:
        call = opened(context)
        span = call.span = self._wire.current()
        trace, origin = span.place, call.origin
        call.origin = Origin(origin.identity, origin.request_id, trace.trace_id, trace.span_id)
        return call

    def rest(self, serve: Serve) -> Serve:
        """``serve``, the gateway's, with a span for every request that has a route."""
        return rest.traced(serve, self._otel, self._parentage)

    @contextmanager
    def reaction(
        self, call: Call, attributes: Attributes, *, sampled: bool = True
    ) -> Iterator[None]:
        """The span of a reaction that runs in ``call``, below the one that published the event.

        ``sampled``: whether that one is recorded.
        """
        with self._parentage.of(call, _published_in(call, sampled=sampled)) as above:
            span = Span.started(self._otel, above, call.method, "consumer", attributes)
        call.span = span
        try:
            yield
        except BaseException as error:
            span.end(error=f"{type(error).__name__}: {error}")
            raise
        span.end()

    def flush(self) -> bool:
        """Hand on every span that has ended; False when that took too long."""
        return self._provider.force_flush()

    def close(self) -> None:
        """Hand on what is left, as far as somebody takes it, and make no more spans."""
        self._provider.shutdown()


def _published_in(call: Call, *, sampled: bool) -> Metadata:
    """The place that an event's headers name, as a call over the network would bring it along."""
    origin = call.origin
    if not origin.span_id:
        return ()
    return ((TRACE_KEY, str(TraceParent(origin.trace_id, origin.span_id, sampled=sampled))),)
