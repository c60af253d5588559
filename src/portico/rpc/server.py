"""The gRPC server of a process: every servicer of its registry on one port."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from portico.context import Call
from portico.errors import StatusError
from portico.rpc.access import is_public
from portico.rpc.origin import origin_of
from portico.rpc.pipeline import compile_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from portico.rpc.metadata import Metadata
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Endpoint, Registry

_FOREVER_SECONDS = 1e9
"""grpcio tells "no deadline" as one that is centuries away."""

_SERVING = health_pb2.HealthCheckResponse.SERVING


class Server:
    """Serves a registry over HTTP/2, with health per service and reflection.

    In three moves, so that a taken port is told before anything else starts: ``bind``, ``mount``,
    ``start``. ``threads`` calls run at a time; the others wait their turn until their deadline.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        threads: int = 8,
        max_message_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        self.host = host
        self.port = port
        self._services: tuple[str, ...] = ()
        options = (
            ("grpc.so_reuseport", 0),  # a second server on the port is a mistake to be told
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="portico-grpc")
        self._server = grpc.server(self._pool, options=options)
        self._health = health.HealthServicer()

    @property
    def address(self) -> str:
        """``host:port``, the real port once started."""
        return f"{self.host}:{self.port}"

    def bind(self) -> None:
        """Take the port, without serving yet; OSError when somebody has it."""
        try:
            self.port = self._server.add_insecure_port(f"{self.host}:{self.port}")
        except RuntimeError as failure:
            raise OSError(f"gRPC cannot listen on {self.address}: the port is taken") from failure

    def mount(self, registry: Registry, policy: Policy, *, caller: str = "") -> None:
        """Take the servicers to serve; ``caller`` is the module that calls, empty for the world outside."""
        self._services = tuple(registry.services)
        self._server.add_generic_rpc_handlers((_Handlers(registry, policy, caller),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

    def start(self) -> None:
        """Serve, and report every service healthy."""
        self._server.start()
        for service in ("", *self._services):
            self._health.set(service, _SERVING)

    def stop(self, grace_seconds: float) -> None:
        """Report unhealthy, refuse new calls, and let running ones end within ``grace_seconds``."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        self._pool.shutdown(wait=False)


class NetworkCall(Call):
    """A call that came in over the network, with grpcio's own context underneath."""

    def __init__(
        self, context: grpc.ServicerContext, endpoint: Endpoint, policy: Policy, *, caller: str, public: bool
    ) -> None:
        metadata = context.invocation_metadata()
        remaining = context.time_remaining()
        if remaining is None or remaining > _FOREVER_SECONDS:
            remaining = policy.default_timeout_seconds if endpoint.method.unary else None
        deadline = None if remaining is None else monotonic() + remaining
        origin = origin_of(metadata, policy, public=public)
        super().__init__(None, origin, endpoint.method.path, endpoint.module, caller, deadline, metadata)
        self._context = context
        context.add_callback(self._gone)

    def is_active(self) -> bool:
        return super().is_active() and self._context.is_active()

    def cancel(self) -> None:
        super().cancel()
        self._context.cancel()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return self._context.add_callback(callback)

    def peer(self) -> str:
        return self._context.peer()

    def peer_identities(self) -> Sequence[bytes] | None:
        return self._context.peer_identities()

    def peer_identity_key(self) -> str | None:
        return self._context.peer_identity_key()

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        return self._context.auth_context()

    def set_compression(self, compression: grpc.Compression) -> None:
        self._context.set_compression(compression)

    def disable_next_message_compression(self) -> None:
        self._context.disable_next_message_compression()

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        super().send_initial_metadata(initial_metadata)
        self._context.send_initial_metadata(self.sent_initial_metadata())

    def _gone(self) -> None:
        """The call is over for its client: what it started locally need not go on."""
        self._cancelled = True


class _Handlers(grpc.GenericRpcHandler):
    """Every endpoint of the registry, compiled for calls from outside."""

    def __init__(self, registry: Registry, policy: Policy, caller: str) -> None:
        self._handlers = {each.method.path: _handler(each, policy, caller) for each in registry}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


def _handler(endpoint: Endpoint, policy: Policy, caller: str) -> grpc.RpcMethodHandler:
    method, theirs = endpoint.method, endpoint.handler
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[method.client_streaming, method.server_streaming]
    serve = _stream if method.server_streaming else _single
    behaviour = serve(endpoint, policy, caller)
    return make(
        behaviour,
        request_deserializer=theirs.request_deserializer,
        response_serializer=theirs.response_serializer,
    )


def _single(endpoint: Endpoint, policy: Policy, caller: str) -> Callable[[Any, grpc.ServicerContext], Any]:
    invoke = compile_call(endpoint, policy, caller=caller, transport="remote")
    public = is_public(endpoint, policy)

    def serve(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            call = NetworkCall(context, endpoint, policy, caller=caller, public=public)
            response = invoke(call, request)
        except StatusError as error:
            ended = error
        else:
            _finish(call, context)
            return response
        return _fail(context, ended)

    return serve


def _stream(endpoint: Endpoint, policy: Policy, caller: str) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
    invoke = compile_call(endpoint, policy, caller=caller, transport="remote")
    public = is_public(endpoint, policy)

    def serve(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            call = NetworkCall(context, endpoint, policy, caller=caller, public=public)
            yield from invoke(call, request)
        except StatusError as error:
            ended = error
        else:
            _finish(call, context)
            return
        _fail(context, ended)

    return serve


def _finish(call: Call, context: grpc.ServicerContext) -> None:
    trailing, details = call.trailing_metadata(), call.details()
    if trailing:
        context.set_trailing_metadata(trailing)
    if details:
        context.set_details(details)


def _fail(context: grpc.ServicerContext, error: StatusError) -> None:
    trailing = error.trailing_metadata()
    if trailing:
        context.set_trailing_metadata(trailing)
    context.abort(error.code(), error.message)
