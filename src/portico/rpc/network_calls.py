"""Calls that come in over the network: grpcio's handlers and contexts around the kernel's pipeline."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

from portico.context import Call
from portico.errors import StatusError
from portico.rpc.metadata import first_of_each
from portico.rpc.origin import origin_of, take_token
from portico.rpc.pipeline import compile_call
from portico.rpc.policy import FOREVER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from portico.rpc.interfaces import Handler
    from portico.rpc.metadata import Metadata
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Endpoint, Registry


class NetworkCall(Call):
    """A call that came in over the network, with grpcio's own context underneath."""

    def __init__(
        self,
        context: grpc.ServicerContext,
        method: str,
        module: str,
        caller: str,
        default_timeout_seconds: float | None,
    ) -> None:
        metadata = context.invocation_metadata()
        remaining: float | None = context.time_remaining()
        if remaining is None or remaining > FOREVER_SECONDS:
            remaining = default_timeout_seconds
        deadline = None if remaining is None else monotonic() + remaining
        found = first_of_each(metadata)
        super().__init__(None, origin_of(found), method, module, caller, deadline, metadata)
        self._context = context
        take_token(self, found)
        context.add_callback(self._gone)

    def is_active(self) -> bool:
        return super().is_active() and self._context.is_active()

    def cancel(self) -> bool:
        self._context.cancel()
        return super().cancel()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return self._context.add_callback(callback)

    def peer(self) -> str:
        return self._context.peer()

    def peer_identities(self) -> Sequence[bytes] | None:
        identities = self._context.peer_identities()
        return None if identities is None else tuple(identities)

    def peer_identity_key(self) -> str | None:
        return self._context.peer_identity_key()

    def auth_context(self) -> Mapping[str, bytes]:
        return self._context.auth_context()

    def set_compression(self, compression: grpc.Compression) -> None:
        self._context.set_compression(compression)

    def disable_next_message_compression(self) -> None:
        self._context.disable_next_message_compression()

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        super().send_initial_metadata(initial_metadata)
        self._context.send_initial_metadata(self.sent_headers())

    def _gone(self) -> None:
        """The call is over for its client: what it has under way need not go on."""
        if not self.over:
            super().cancel()


def handlers_of(registry: Registry, policy: Policy, caller: str) -> dict[str, dict[str, Handler]]:
    """What grpcio calls for each method of each service; ``caller`` is as for ``Server.mount``."""
    handlers: dict[str, dict[str, Handler]] = {service: {} for service in registry.services}
    for endpoint in registry:
        service, _, name = endpoint.method.path.strip("/").partition("/")
        handlers[service][name] = _handler(endpoint, policy, caller)
    return handlers


def _handler(endpoint: Endpoint, policy: Policy, caller: str) -> Handler:
    method, theirs = endpoint.method, endpoint.handler
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[method.client_streaming, method.server_streaming]
    serve = _stream if method.server_streaming else _single
    return make(
        serve(endpoint, policy, caller),
        request_deserializer=theirs.request_deserializer,
        response_serializer=theirs.response_serializer,
    )


def _single(
    endpoint: Endpoint, policy: Policy, caller: str
) -> Callable[[Any, grpc.ServicerContext], Any]:
    invoke = compile_call(endpoint, policy, caller=caller, transport="remote")
    path, module = endpoint.method.path, endpoint.module
    default = policy.default_timeout_seconds if endpoint.method.unary else None

    def serve(request: Any, context: grpc.ServicerContext) -> Any:
        call = NetworkCall(context, path, module, caller, default)
        try:
            response = invoke(call, request)
        except StatusError as error:
            failure = error
        else:
            _send_trailers(call, context)
            return response
        return _fail(context, failure)

    return serve


def _stream(
    endpoint: Endpoint, policy: Policy, caller: str
) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
    invoke = compile_call(endpoint, policy, caller=caller, transport="remote")
    path, module = endpoint.method.path, endpoint.module

    def serve(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        call = NetworkCall(context, path, module, caller, None)
        try:
            yield from invoke(call, request)
        except StatusError as error:
            failure = error
        else:
            _send_trailers(call, context)
            return
        _fail(context, failure)

    return serve


def _send_trailers(call: Call, context: grpc.ServicerContext) -> None:
    trailers = call.trailing_metadata()
    if trailers:
        context.set_trailing_metadata(trailers)


def _fail(context: grpc.ServicerContext, error: StatusError) -> None:
    trailers = error.trailing_metadata()
    if trailers:
        context.set_trailing_metadata(trailers)
    context.abort(error.code(), error.message)
