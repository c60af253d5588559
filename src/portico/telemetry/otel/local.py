"""The two spans of a local call: the same as instrumentation makes of a call over the network."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from portico.telemetry.otel.outcome import end_client, end_server
from portico.telemetry.otel.span import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry import trace

    from portico.context import Call
    from portico.telemetry.otel.parentage import Parentage
    from portico.telemetry.otel.span import Attributes

    Invoke = Callable[[Call, Any], Any]


class LocalPair:
    """Makes a CLIENT span and the SERVER span below it for every call of one method."""

    def __init__(self, tracer: trace.Tracer, parentage: Parentage, path: str) -> None:
        self._tracer = tracer
        self._parentage = parentage
        self._path = path
        self._attributes = {**rpc_attributes(path), "portico.placement": "local"}

    def single(self, invoke: Invoke) -> Invoke:
        """For a method with one response."""

        def traced(call: Call, request: Any) -> Any:
            if _is_late(call):
                return invoke(call, request)
            client, server = self._begun(call)
            try:
                response = invoke(call, request)
            except BaseException as error:
                end_server(server, error)
                end_client(client, error)
                raise
            end_server(server, None)
            end_client(client, None)
            return response

        return traced

    def stream(self, invoke: Invoke) -> Invoke:
        """For a method with a stream of responses; the spans end with the stream."""

        def traced(call: Call, request: Any) -> Iterator[Any]:
            if _is_late(call):
                yield from invoke(call, request)
                return
            client, server = self._begun(call)
            try:
                yield from invoke(call, request)
            except BaseException as error:
                end_server(server, error)
                end_client(client, error)
                raise
            end_server(server, None)
            end_client(client, None)

        return traced

    def _begun(self, call: Call) -> tuple[Span, Span]:
        path, attributes = self._path, self._attributes
        sent = call.invocation_metadata() if call.parent is None else ()
        with self._parentage.of(call, sent) as above:
            client = Span.started(self._tracer, above, path, "client", attributes)
        server = call.span = client.begin(path, kind="server", attributes=attributes)
        return client, server


def rpc_attributes(path: str) -> Attributes:
    """What names a method, and an outcome that is good until something else is known."""
    service, _, method = path.strip("/").partition("/")
    return {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": 0,
    }


def _is_late(call: Call) -> bool:
    """Whether it is refused before it begins, as a remote one is: that makes no spans."""
    return call.deadline is not None and monotonic() >= call.deadline
