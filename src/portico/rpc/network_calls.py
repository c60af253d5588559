"""Calls that come in over the network: grpcio's handlers and contexts around the kernel's pipeline."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import grpc

from portico.context import Call
from portico.errors import StatusError
from portico.rpc.metadata import first_of_each
from portico.rpc.origin import AUTHORIZATION_KEY, origin_of, take_token
from portico.rpc.pipeline import compile_call
from portico.rpc.policy import FOREVER_SECONDS
from portico.rpc.status import for_outsiders
from portico.security.passport import PASSPORT_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from portico.rpc.hops import Hops
    from portico.rpc.interfaces import Handler
    from portico.rpc.metadata import Metadata
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Endpoint, Registry
    from portico.security.passport import Passport

    Invoke = Callable[[Call, Any], Any]


class NetworkCall(Call):
    """A call that came in over the network, with grpcio's own context underneath.

    ``passport`` came with it, unread; the servicer does not see it. ``refusal`` is why it may not go on.
    """

    refusal: StatusError | None = None

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
        self.passport = str(found.pop(PASSPORT_KEY, ""))
        if self.passport:
            metadata = tuple(pair for pair in metadata if pair[0] != PASSPORT_KEY)
        super().__init__(None, origin_of(found), method, module, caller, deadline, metadata)
        self._context = context
        self._brought_token = AUTHORIZATION_KEY in found
        take_token(self, found)
        context.add_callback(self._gone)

    def take(self, passport: Passport) -> None:
        """Be the call that ``passport`` says; a token that its caller's code sent says more of the user."""
        self.caller, self.step = passport.caller, passport.step
        if not self._brought_token:
            self.origin.identity = passport.identity

    def refuse(self, error: StatusError) -> None:
        """Have the call end with ``error``."""
        self.refusal = error
        self.unverified = ""  # a token that comes along is nobody's business any more

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


class _Entrance:
    """The ways into one method: one for the world outside, one for each module that may call it."""

    def __init__(self, endpoint: Endpoint, policy: Policy, caller: str, hops: Hops | None) -> None:
        way = partial(compile_call, endpoint, policy, transport="remote")
        self._service = endpoint.method.path.strip("/").partition("/")[0]
        self._hops = hops
        self._outside = way(caller=caller)
        self._modules: dict[str, Invoke] = {}
        if hops is not None:
            self._modules = {
                module: way(caller=module) for module in hops.callers_of(self._service)
            }
            self._closed = way(caller=caller, refuse=_refuse)

    def open(self, call: NetworkCall) -> Invoke:
        """The way for ``call``, which learns here whose it is."""
        if self._hops is None or not call.passport:
            return self._outside
        try:
            passport = self._hops.admit(call.passport, self._service, call)
        except StatusError as error:
            call.refuse(error)
            return self._closed
        call.take(passport)
        return self._modules[passport.caller]


def _refuse(call: Call) -> None:
    refusal = cast("NetworkCall", call).refusal
    if refusal is not None:
        raise refusal


def handlers_of(
    registry: Registry, policy: Policy, caller: str, hops: Hops | None = None
) -> dict[str, dict[str, Handler]]:
    """What grpcio calls for each method of each service; the parameters are as for ``Server.mount``."""
    handlers: dict[str, dict[str, Handler]] = {service: {} for service in registry.services}
    for endpoint in registry:
        service, _, name = endpoint.method.path.strip("/").partition("/")
        handlers[service][name] = _handler(endpoint, policy, caller, hops)
    return handlers


def _handler(endpoint: Endpoint, policy: Policy, caller: str, hops: Hops | None) -> Handler:
    method, theirs = endpoint.method, endpoint.handler
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[method.client_streaming, method.server_streaming]
    default = policy.default_timeout_seconds if method.unary else None
    opened: Callable[[grpc.ServicerContext], NetworkCall] = partial(
        NetworkCall,
        method=method.path,
        module=endpoint.module,
        caller=caller,
        default_timeout_seconds=default,
    )
    if policy.tracer is not None:
        opened = policy.tracer.opening(method.path, opened)
    serve = _stream if method.server_streaming else _single
    handler: Handler = make(
        serve(_Entrance(endpoint, policy, caller, hops), opened),
        request_deserializer=theirs.request_deserializer,
        response_serializer=theirs.response_serializer,
    )
    return handler if policy.tracer is None else policy.tracer.served(method.path, handler)


def _single(
    entrance: _Entrance, opened: Callable[[grpc.ServicerContext], NetworkCall]
) -> Callable[[Any, grpc.ServicerContext], Any]:
    def serve(request: Any, context: grpc.ServicerContext) -> Any:
        call = opened(context)
        invoke = entrance.open(call)
        try:
            response = invoke(call, request)
        except StatusError as error:
            failure = error
        else:
            send_trailers(call, context)
            return response
        return fail(context, failure)

    return serve


def _stream(
    entrance: _Entrance, opened: Callable[[grpc.ServicerContext], NetworkCall]
) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
    def serve(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        call = opened(context)
        invoke = entrance.open(call)
        try:
            yield from invoke(call, request)
        except StatusError as error:
            failure = error
        else:
            send_trailers(call, context)
            return
        fail(context, failure)

    return serve


def send_trailers(call: Call, context: grpc.ServicerContext) -> None:
    """Hand the trailers that the servicer has set to grpcio."""
    trailers = call.trailing_metadata()
    if trailers:
        context.set_trailing_metadata(trailers)


def fail(context: grpc.ServicerContext, error: StatusError) -> None:
    """End the call with ``error``; raises, as grpcio wants it."""
    trailers = error.trailing_metadata()
    if trailers:
        context.set_trailing_metadata(trailers)
    unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
    context.abort(error.code(), for_outsiders(error) if unavailable else error.message)
