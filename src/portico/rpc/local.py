"""The in-process channel: a generated stub cannot tell it from a socket.

A unary call runs in the caller's thread: no serialisation, no thread hop. Streams and futures run in
a thread of their own, as they do behind a socket, so that deadlines and cancellation take effect
while the servicer works. Messages are copied at the border unless ``share`` is asked for.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

from portico.context import Call, current_or_none
from portico.errors import StatusError
from portico.rpc import metadata as headers
from portico.rpc.access import is_public
from portico.rpc.inflight import LocalRpc
from portico.rpc.origin import origin_of
from portico.rpc.pipeline import compile_call
from portico.rpc.policy import Policy
from portico.rpc.registry import Registrar, Registry
from portico.rpc.requests import RequestStream
from portico.rpc.transfer import compile_transfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from portico.rpc.registry import Endpoint
    from portico.rpc.transfer import Transfer

    Invoke = Callable[[Call, Any], Any]
    Serializer = Callable[[Any], bytes] | None
    Deserializer = Callable[[bytes], Any] | None


class LocalChannel(grpc.Channel):
    """A ``grpc.Channel`` to the servicers of this process, and the registrar they are added to.

    ``caller`` is the module that calls over this channel, empty for the world outside. With
    ``share`` both sides see the same message objects and neither may change one it has handed over.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        policy: Policy | None = None,
        caller: str = "",
        share: bool = False,
    ) -> None:
        self._registry = registry if registry is not None else Registry()
        self._policy = policy if policy is not None else Policy()
        self._caller = caller
        self._share = share
        self._closed = False
        self._calls: dict[str, tuple[Endpoint, Invoke]] = {}
        self._registrar = Registrar(self._registry, "")

    # A registrar, as grpc.Server

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: dict[str, grpc.RpcMethodHandler]
    ) -> None:
        """Add a servicer; called by the generated ``add_…Servicer_to_server``."""
        self._registrar.add_registered_method_handlers(service_name, method_handlers)

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: tuple[grpc.GenericRpcHandler, ...]
    ) -> None:
        """Add a servicer; called by the generated ``add_…Servicer_to_server``."""
        self._registrar.add_generic_rpc_handlers(generic_rpc_handlers)

    # grpc.Channel

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None = False
    ) -> None:
        """Tell ``callback`` that the channel is READY: it always is."""
        callback(grpc.ChannelConnectivity.READY)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Nothing is ever told again."""

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryUnaryMultiCallable:
        """The callable for a unary rpc."""
        return _UnaryUnary(self, method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryStreamMultiCallable:
        """The callable for an rpc that answers with a stream."""
        return _UnaryStream(self, method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamUnaryMultiCallable:
        """The callable for an rpc that takes a stream."""
        return _StreamUnary(self, method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamStreamMultiCallable:
        """The callable for an rpc with a stream each way."""
        return _StreamStream(self, method, request_serializer, response_deserializer)

    def close(self) -> None:
        """Refuse further calls; those in progress end as they will."""
        self._closed = True

    def __enter__(self) -> LocalChannel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # For the callables below

    def compiled(self, path: str) -> tuple[Endpoint, Invoke]:
        """The endpoint at ``path`` with its pipeline, compiled at the first call over this channel."""
        if self._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        found = self._calls.get(path)
        if found is None:
            endpoint = self._registry.find(path)
            if endpoint is None:
                raise StatusError(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            invoke = compile_call(endpoint, self._policy, caller=self._caller, transport="local")
            found = self._calls[path] = endpoint, invoke
        return found


class _Callable:
    """What the four kinds have in common: one method, resolved at the first call."""

    def __init__(
        self, channel: LocalChannel, path: str, serializer: Serializer, deserializer: Deserializer
    ) -> None:
        self._channel = channel
        self._path = path if path.startswith("/") else f"/{path}"
        self._serializer = serializer
        self._deserializer = deserializer
        self._caller = channel._caller
        self._share = False
        self._policy = channel._policy
        self._endpoint: Endpoint | None = None
        self._invoke: Invoke
        self._send: Transfer
        self._receive: Transfer

    def _resolve(self) -> Endpoint:
        endpoint, self._invoke = self._channel.compiled(self._path)
        method, handler, share = endpoint.method, endpoint.handler, self._channel._share
        self._send = compile_transfer(
            method.request_class, self._serializer, handler.request_deserializer, share=share, what="request"
        )
        self._receive = compile_transfer(
            method.response_class, handler.response_serializer, self._deserializer, share=share, what="response"
        )
        self._share = share and self._receive.__name__ == "shared"
        self._module = endpoint.module
        self._default = self._policy.default_timeout_seconds if method.unary else None
        self._public = is_public(endpoint, self._policy)
        self._endpoint = endpoint
        return endpoint

    def _open(self, timeout: float | None, metadata: Any) -> Call:
        """The call as its servicer will see it: what is left of the caller's time, never more."""
        if self._channel._closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        parent = current_or_none()
        sent = () if metadata is None else headers.checked(metadata)
        if parent is None:
            origin = origin_of(sent, self._policy, public=self._public)
            deadline = None
        else:
            top = parent.top  # ``given_up``, without a frame for the common case
            if parent._cancelled or top._cancelled or (top.parent is not None and parent.given_up()):
                raise StatusError(grpc.StatusCode.CANCELLED, "the calling call was cancelled")
            origin = parent.origin
            deadline = parent.deadline
        if timeout is None and deadline is None:
            timeout = self._default
        if timeout is not None:
            wanted = monotonic() + timeout
            if deadline is None or wanted < deadline:
                deadline = wanted
        call = Call(parent, origin, self._path, self._module, self._caller, deadline, sent)
        if parent is not None:
            call.step = parent.step
            call.transaction = parent.transaction
        return call

    def _start(self, request: Any, timeout: float | None, metadata: Any) -> LocalRpc:
        """Run the call in a thread of its own; what goes wrong before that is told by the result."""
        try:
            endpoint = self._endpoint or self._resolve()
            call = self._open(timeout, metadata)
            call.transaction = None  # a database transaction stays in its thread
            call.top = call
            if endpoint.method.client_streaming:
                request = RequestStream(call, request, self._send)
            else:
                request = self._send(request)
        except StatusError as error:
            return LocalRpc.failed(error)
        rpc = LocalRpc(call, self._receive)
        rpc.start(self._invoke, request, streaming=endpoint.method.server_streaming)
        return rpc


class _UnaryUnary(_Callable, grpc.UnaryUnaryMultiCallable):
    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        if self._endpoint is None:
            self._resolve()
        call = self._open(timeout, metadata)
        response = self._invoke(call, self._send(request))
        return response if self._share else self._receive(response)

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[Any, grpc.Call]:
        if self._endpoint is None:
            self._resolve()
        call = self._open(timeout, metadata)
        response = self._receive(self._invoke(call, self._send(request)))
        return response, LocalRpc.finished(call, response)

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> LocalRpc:
        return self._start(request, timeout, metadata)


class _UnaryStream(_Callable, grpc.UnaryStreamMultiCallable):
    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> LocalRpc:
        return self._start(request, timeout, metadata)


class _StreamUnary(_Callable, grpc.StreamUnaryMultiCallable):
    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(request_iterator, timeout, metadata).result()

    def with_call(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[Any, grpc.Call]:
        rpc = self._start(request_iterator, timeout, metadata)
        return rpc.result(), rpc

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> LocalRpc:
        return self._start(request_iterator, timeout, metadata)


class _StreamStream(_Callable, grpc.StreamStreamMultiCallable):
    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> LocalRpc:
        return self._start(request_iterator, timeout, metadata)
