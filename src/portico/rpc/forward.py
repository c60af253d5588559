"""Public calls for services that run in another process, handed on as they came.

An outside client sees one address whatever the topology. Messages pass through as bytes; deadline,
cancellation, metadata, headers, trailers and errors as if the client had called that process itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from portico.context import entered
from portico.errors import StatusError
from portico.rpc.network_calls import NetworkCall, fail, send_trailers
from portico.rpc.origin import REQUEST_ID_KEY, TRACE_KEY
from portico.rpc.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from portico.module import Module
    from portico.rpc.interfaces import Handler
    from portico.rpc.metadata import Metadata
    from portico.rpc.registry import Endpoint

# What this process and its transport write themselves.
_NOT_HANDED_ON = (REQUEST_ID_KEY, TRACE_KEY, "user-agent", "grpc-", "x-portico-")


def forwarders(modules: Iterable[Module], channel: grpc.Channel) -> dict[str, dict[str, Handler]]:
    """What grpcio calls for each method of each service of ``modules``, which ``channel`` reaches."""
    registry = Registry()
    for module in modules:
        module.describe(registry)
    found: dict[str, dict[str, Handler]] = {service: {} for service in registry.services}
    for endpoint in registry:
        service, _, name = endpoint.method.path.strip("/").partition("/")
        found[service][name] = _forwarding(endpoint, channel)
    return found


def _forwarding(endpoint: Endpoint, channel: grpc.Channel) -> Handler:
    """What grpcio calls for a method that is served at the other end of ``channel``."""
    method = endpoint.method
    streams = method.client_streaming, method.server_streaming
    open_call = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[streams]
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[streams]
    there: Any = open_call(method.path)
    handler: Handler = make(
        _stream(endpoint, there) if method.server_streaming else _single(endpoint, there.future),
        request_deserializer=_legible(endpoint.handler.request_deserializer),
    )
    return handler


def _legible(read: Callable[[bytes], Any] | None) -> Callable[[bytes], bytes] | None:
    """The bytes as they came, if they are a message; whatever ``read`` raises if not.

    Then grpcio answers here as it would there: there it would look like trouble of that process, and
    open the circuit to it for everybody.
    """
    if read is None:
        return None

    def check(message: bytes) -> bytes:
        read(message)
        return message

    return check


def _single(
    endpoint: Endpoint, begin: Callable[..., Any]
) -> Callable[[Any, grpc.ServicerContext], Any]:
    def serve(request: Any, context: grpc.ServicerContext) -> Any:
        call = _opened(endpoint, context)
        try:
            with entered(call):
                rpc = begin(request, metadata=_handed_on(call))
                response = rpc.result()
            _send_headers(rpc, call)
        except StatusError as error:
            failure = error
        else:
            call.set_trailing_metadata(rpc.trailing_metadata())
            send_trailers(call, context)
            call.over = True
            return response
        return _fail(call, context, failure)

    return serve


def _stream(
    endpoint: Endpoint, begin: Callable[..., Any]
) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
    def serve(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        call = _opened(endpoint, context)
        try:
            with entered(call):
                rpc = begin(request, metadata=_handed_on(call))
            _send_headers(rpc, call)
            yield from rpc
        except StatusError as error:
            failure = error
        else:
            call.set_trailing_metadata(rpc.trailing_metadata())
            send_trailers(call, context)
            call.over = True
            return
        _fail(call, context, failure)

    return serve


def _opened(endpoint: Endpoint, context: grpc.ServicerContext) -> NetworkCall:
    """The call on its way through: nobody's yet, since the process that serves it reads the token."""
    call = NetworkCall(context, endpoint.method.path, endpoint.module, "", None)
    call.unverified, call.unusual = "", False
    return call


def _fail(call: NetworkCall, context: grpc.ServicerContext, error: StatusError) -> None:
    headers = tuple(error.initial_metadata() or ())
    if headers and not call.sent_headers():
        call.send_initial_metadata(headers)
    call.over = True
    fail(context, error)


def _handed_on(call: NetworkCall) -> Metadata:
    return tuple(
        (key, value)
        for key, value in call.invocation_metadata()
        if not key.startswith(_NOT_HANDED_ON)
    )


def _send_headers(rpc: Any, call: NetworkCall) -> None:
    headers = tuple(rpc.initial_metadata())
    if headers:
        call.send_initial_metadata(headers)
