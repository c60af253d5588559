"""Calls over the network: opentelemetry-instrumentation-grpc, told what it cannot know by itself.

It makes the spans and the ``traceparent`` on the wire. Three things it is given another way than by its
own channel and server, since they would change the calls:

- it is called per method and not wrapped around a channel: its channel drops all but one of the
  metadata of a name, and gives a bare generator in the place of a stream that can be cancelled;
- the parent of a span comes from the tree of calls;
- a stream that its client gives up ends as CANCELLED on the server's side too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import client_interceptor, server_interceptor

from portico.context import current_or_none
from portico.rpc.network_calls import NetworkCall
from portico.rpc.origin import TRACE_KEY
from portico.rpc.remote_rpc import translating
from portico.telemetry.otel.outcome import STATUS_CODE
from portico.telemetry.otel.span import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.rpc.interfaces import Handler
    from portico.telemetry.otel.parentage import Parentage

_PLACEMENT = "portico.placement"
_CANCELLED: int = grpc.StatusCode.CANCELLED.value[0]


class _ClientInfo(NamedTuple):
    """What the instrumentation asks of a call.

    A stream of responses is told as a stream each way: for that it leaves the call as it is, and
    ends the span when the call has ended.
    """

    full_method: str
    timeout: float | None
    is_client_stream: bool = True
    is_server_stream: bool = True


class _Details(NamedTuple):
    """What the instrumentation asks of a method that is served."""

    method: str
    invocation_metadata: tuple[()] = ()


class Wire:
    """Both sides of calls over the network."""

    def __init__(self, provider: trace.TracerProvider, parentage: Parentage) -> None:
        self._parentage = parentage
        # The package says that it is typed; these functions are not.
        self._client: Any = client_interceptor(provider, request_hook=_mark)  # type: ignore[no-untyped-call]
        self._server: Any = server_interceptor(provider)  # type: ignore[no-untyped-call]
        self._tracer = provider.get_tracer(__name__)

    def calling(self, path: str, inner: Any, *, stream: bool) -> TracedCallable:
        """In the place of ``inner``, grpcio's callable for the method at ``path``."""
        intercept = self._client.intercept_stream if stream else self._client.intercept_unary
        return TracedCallable(path, inner, intercept, self._parentage)

    def served(self, path: str, handler: Handler) -> Handler:
        """In the place of ``handler``, the one that grpcio calls for the method at ``path``."""
        marked = _marked(handler)
        traced: Handler = self._server.intercept_service(lambda _: marked, _Details(path))
        return traced

    def current(self) -> Span:
        """In a handler: the span of its call."""
        return Span(trace.get_current_span(), self._tracer)


class TracedCallable:
    """One method of a channel."""

    def __init__(self, path: str, inner: Any, intercept: Any, parentage: Parentage) -> None:
        self._path = path
        self._inner = inner
        self._intercept = intercept
        self._parentage = parentage

    def __call__(self, *request: Any, **options: Any) -> Any:
        """The response, or the call that brings the responses."""
        return self._traced(self._inner, *request, **options)

    def with_call(self, *request: Any, **options: Any) -> Any:
        """The response, and the call."""
        return self._traced(self._inner.with_call, *request, **options)

    def future(self, *request: Any, **options: Any) -> Any:
        """The call, under way."""
        return self._traced(self._inner.future, *request, **options)

    def _traced(
        self,
        invoke: Callable[..., Any],
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        sent = tuple(metadata or ())
        others = tuple(pair for pair in sent if pair[0] != TRACE_KEY)
        call = current_or_none()
        if isinstance(call, NetworkCall) and call.span is None:  # it is on its way through
            came_with = tuple(pair for pair in call.invocation_metadata() if pair[0] == TRACE_KEY)
            return invoke(request, timeout, (*came_with, *others), *more, **named)

        def send(message: Any, injected: Any) -> Any:
            arguments = (message, timeout, (*injected, *others), *more)
            return translating(invoke, *arguments, **named)

        # The metadata of a call inside another name a span that nobody made.
        with self._parentage.current(call, sent if call is None else ()):
            return self._intercept(request, (), _ClientInfo(self._path, timeout), send)


def _mark(span: trace.Span, _request: Any) -> None:
    span.set_attribute(_PLACEMENT, "remote")


def _marked(handler: Handler) -> Handler:
    """The same, noting on the current span what the instrumentation does not."""
    kinds: tuple[tuple[str, Callable[..., Any], Any], ...] = (
        ("unary_unary", grpc.unary_unary_rpc_method_handler, _single),
        ("unary_stream", grpc.unary_stream_rpc_method_handler, _stream),
        ("stream_unary", grpc.stream_unary_rpc_method_handler, _single),
        ("stream_stream", grpc.stream_stream_rpc_method_handler, _stream),
    )
    for name, make, around in kinds:
        behaviour = getattr(handler, name)
        if behaviour is not None:
            return make(  # type: ignore[no-any-return]
                partial(around, behaviour),
                handler.request_deserializer,
                handler.response_serializer,
            )
    raise TypeError(f"{handler!r} handles nothing")


def _single(behaviour: Callable[..., Any], request: Any, context: Any) -> Any:
    trace.get_current_span().set_attribute(_PLACEMENT, "remote")
    return behaviour(request, _mended(context))


def _stream(behaviour: Callable[..., Any], request: Any, context: Any) -> Iterator[Any]:
    span = trace.get_current_span()
    span.set_attribute(_PLACEMENT, "remote")
    try:
        yield from behaviour(request, _mended(context))
    except GeneratorExit:
        span.set_attribute(STATUS_CODE, _CANCELLED)
        raise


def _mended(context: Any) -> Any:
    """The instrumentation's context, whose one method asks for an attribute that is not there."""
    own = context._servicer_context  # noqa: SLF001  # there is no other way to it
    context.disable_next_message_compression = own.disable_next_message_compression
    return context
