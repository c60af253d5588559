"""The in-process channel: a generated stub cannot tell it from a socket.

A unary call runs in the caller's thread: no serialisation, no thread hop. Streams and futures run in
a thread of their own, as they do behind a socket, so that deadlines and cancellation take effect
while the servicer works. Messages are copied at the border unless ``share`` is asked for.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import grpc

from portico.errors import StatusError
from portico.rpc.answering import call_all
from portico.rpc.local_calls import (
    BoundedUnaryUnary,
    LocalCallable,
    LocalStreamStream,
    LocalStreamUnary,
    LocalUnaryStream,
    LocalUnaryUnary,
    Route,
)
from portico.rpc.pipeline import compile_call
from portico.rpc.policy import Policy
from portico.rpc.registry import Registrar, Registry
from portico.rpc.transfer import compile_transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from portico.context import Call
    from portico.rpc.exchange import Exchange
    from portico.rpc.interfaces import (
        Deserializer,
        Handler,
        Serializer,
        StreamStream,
        StreamUnary,
        UnaryStream,
        UnaryUnary,
    )
    from portico.rpc.registry import Endpoint
    from portico.rpc.transfer import Transfer


class LocalChannel(grpc.Channel):
    """A ``grpc.Channel`` to the servicers of this process, and the registrar they are added to.

    ``caller`` is the module that calls over this channel, empty for the world outside. With
    ``share`` both sides see the same message objects and neither may change one it has handed over.
    ``timeout_seconds`` bounds each unary call, whatever its caller asks for.
    Where that is not a socket's equal is told in ``portico.rpc``.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        policy: Policy | None = None,
        caller: str = "",
        share: bool = False,
        timeout_seconds: float | None = None,
    ) -> None:
        self.registry = registry if registry is not None else Registry()
        self.policy = policy if policy is not None else Policy()
        self.caller = caller
        self.share = share
        self.timeout_seconds = timeout_seconds
        self.closed = False
        self.under_way: set[Exchange] = set()
        """Futures and streams that have not ended."""
        self.callables: WeakSet[LocalCallable] = WeakSet()
        """What stubs hold of this channel."""
        self._registrar = Registrar(self.registry, "")
        self._invokes: dict[str, Callable[[Call, Any], Any]] = {}

    # A registrar, as grpc.Server

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Add a servicer; called by the generated ``add_…Servicer_to_server``."""
        self._registrar.add_registered_method_handlers(service_name, method_handlers)

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Add a servicer; called by the generated ``add_…Servicer_to_server``."""
        self._registrar.add_generic_rpc_handlers(generic_rpc_handlers)

    # grpc.Channel

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary:
        """The callable for a unary rpc."""
        route = self, method, request_serializer, response_deserializer
        if self.timeout_seconds is not None:
            return BoundedUnaryUnary(self.timeout_seconds, *route)
        return LocalUnaryUnary(*route)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream:
        """The callable for an rpc that answers with a stream."""
        return LocalUnaryStream(self, method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary:
        """The callable for an rpc that takes a stream."""
        return LocalStreamUnary(self, method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> StreamStream:
        """The callable for an rpc with a stream each way."""
        return LocalStreamStream(self, method, request_serializer, response_deserializer)

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool = False,
    ) -> None:
        """Tell ``callback`` that the channel is READY: it always is."""
        call_all([partial(callback, grpc.ChannelConnectivity.READY)])

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Nothing is ever told again."""

    def close(self) -> None:
        """Refuse further calls, and end the futures and streams that are under way."""
        self.closed = True
        for each in tuple(self.callables):
            each.forget()
        for exchange in tuple(self.under_way):
            exchange.cancel("Channel closed!")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # For the callables

    def route(self, path: str, serializer: Serializer, deserializer: Deserializer) -> Route:
        """The way to the servicer of ``path``, its pipeline compiled; UNIMPLEMENTED without one."""
        endpoint = self.registry.find(path)
        if endpoint is None:
            raise StatusError(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        if path not in self._invokes:
            self._invokes[path] = self._compiled(endpoint)
        default = self.policy.default_timeout_seconds if endpoint.method.unary else None
        request, response = self.transfers(endpoint, serializer, deserializer)
        return Route(
            endpoint.method,
            endpoint.module,
            self.caller,
            default,
            *request,
            self._invokes[path],
            *response,
        )

    def _compiled(self, endpoint: Endpoint) -> Callable[[Call, Any], Any]:
        invoke = compile_call(endpoint, self.policy, caller=self.caller, transport="local")
        if self.policy.tracer is None:
            return invoke
        method = endpoint.method
        return self.policy.tracer.local(method.path, invoke, stream=method.server_streaming)

    def transfers(
        self, endpoint: Endpoint, serializer: Serializer, deserializer: Deserializer
    ) -> tuple[Transfer, Transfer]:
        """How requests and responses cross."""
        method, handler = endpoint.method, endpoint.handler
        return (
            compile_transfer(
                method.request_class,
                serializer,
                handler.request_deserializer,
                share=self.share,
                what="request",
            ),
            compile_transfer(
                method.response_class,
                handler.response_serializer,
                deserializer,
                share=self.share,
                what="response",
            ),
        )
