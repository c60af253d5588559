"""The four kinds of local call, as stubs hold them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import grpc

from portico.context import Call, Line, current_or_none, here
from portico.errors import StatusError
from portico.rpc.ended import Ended
from portico.rpc.exchange import Exchange
from portico.rpc.inflight import LocalRpc
from portico.rpc.interfaces import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from portico.rpc.metadata import checked, first_of_each
from portico.rpc.origin import origin_of, take_token
from portico.rpc.policy import FOREVER_SECONDS
from portico.rpc.requests import RequestStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.rpc.contract import Method
    from portico.rpc.interfaces import Deserializer, Serializer
    from portico.rpc.local import LocalChannel


@dataclass(frozen=True, slots=True)
class Route:
    """The way from one callable to its servicer."""

    method: Method
    module: str
    caller: str
    default_timeout_seconds: float | None
    request_as_is: type
    send: Callable[[Any], Any]
    invoke: Callable[[Call, Any], Any]
    response_as_is: type
    receive: Callable[[Any], Any]


class LocalCallable:
    """One method over one channel; its route is looked up at the first call."""

    client_streaming = False
    server_streaming = False

    def __init__(
        self, channel: LocalChannel, path: str, serializer: Serializer, deserializer: Deserializer
    ) -> None:
        self._channel = channel
        self._path = path if path.startswith("/") else f"/{path}"
        self._serializer = serializer
        self._deserializer = deserializer
        self._route: Route | None = None
        channel.callables.add(self)

    def forget(self) -> None:
        """The channel was closed: there is no way to the servicer any more."""
        self._route = None

    def _find(self) -> Route:
        if self._channel.closed:
            raise ValueError("Cannot invoke RPC on closed channel!")
        route = self._channel.route(self._path, self._serializer, self._deserializer)
        method = route.method
        if (method.client_streaming, method.server_streaming) != (
            self.client_streaming,
            self.server_streaming,
        ):
            raise StatusError(
                grpc.StatusCode.UNIMPLEMENTED, f"{self._path} is an rpc of another kind"
            )
        self._route = route
        return route

    def _open(self, route: Route, timeout: float | None, metadata: Any) -> Call:
        """The call as its servicer will see it: what is left of the caller's time, never more."""
        sent = () if metadata is None else checked(metadata)
        parent = current_or_none()
        if parent is None:
            origin, deadline = origin_of(first_of_each(sent) if sent else {}), None
        elif parent.cancelled or parent.line.cancelled:
            raise StatusError(grpc.StatusCode.CANCELLED, "the calling call was cancelled")
        else:
            origin, deadline = parent.origin, parent.deadline
        if timeout is None and deadline is None:
            timeout = route.default_timeout_seconds
        if timeout is not None and timeout < FOREVER_SECONDS:
            wanted = monotonic() + timeout
            if deadline is None or wanted < deadline:
                deadline = wanted
        call = Call(parent, origin, self._path, route.module, route.caller, deadline, sent)
        if sent:
            take_token(call, first_of_each(sent))
        return call

    def _begin(self, request: Any, timeout: float | None, metadata: Any) -> LocalRpc:
        """Run the call in a thread of its own.

        Of what goes wrong before that, the result tells, except for a request that is none.
        """
        try:
            route = self._route or self._find()
            call = self._open(route, timeout, metadata)
        except StatusError as error:
            return LocalRpc(Ended(error=error))
        call.line = Line()
        call.transaction = call.step = None  # a database transaction stays in its thread
        if not self.client_streaming:
            request = route.send(request)
        exchange = Exchange(call, route.receive, self._channel.under_way)
        try:
            self._start(route, exchange, request)
        except StatusError as error:
            exchange.fail(error)
        if call.parent is not None:
            call.parent.line.has_under_way(exchange)
        return LocalRpc(exchange)

    def _start(self, route: Route, exchange: Exchange, request: Any) -> None:
        threads = self._channel.registry.threads
        run = exchange.run_stream if self.server_streaming else exchange.run_single
        if not self.client_streaming:
            threads.start(partial(run, route.invoke, request))
            return
        stream = RequestStream(exchange.call, request, route.send, exchange.fail)
        threads.start(stream.read, partial(run, route.invoke, stream))


class LocalUnaryUnary(LocalCallable, UnaryUnary):
    """One message each way, in the caller's thread."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        route = self._route or self._find()
        if type(request) is not route.request_as_is:
            request = route.send(request)
        line = here.line
        above = None if line is None or line.cancelled else line.innermost
        if (
            above is None
            or above.cancelled
            or above.deadline is None
            or timeout is not None
            or metadata is not None
        ):
            call = self._open(route, timeout, metadata)
        else:  # what most calls are: inside another, without wishes of their own, and without a frame
            call = Call(
                above, above.origin, self._path, route.module, route.caller, above.deadline, ()
            )
        response = route.invoke(call, request)
        return response if type(response) is route.response_as_is else route.receive(response)

    def with_call(
        self, request: Any, timeout: float | None = None, metadata: Any = None, *_: Any, **__: Any
    ) -> tuple[Any, LocalRpc]:
        """The response, and the call with its headers and trailers."""
        route = self._route or self._find()
        sent = route.send(request)
        call = self._open(route, timeout, metadata)
        response = route.receive(route.invoke(call, sent))
        ended = Ended(
            response=response,
            headers=call.sent_headers(),
            trailers=call.trailing_metadata() or (),
        )
        return response, LocalRpc(ended)

    def future(
        self, request: Any, timeout: float | None = None, metadata: Any = None, *_: Any, **__: Any
    ) -> LocalRpc:
        """The call, under way in a thread of its own."""
        return self._begin(request, timeout, metadata)


class BoundedUnaryUnary(LocalUnaryUnary):
    """As ``LocalUnaryUnary`` over an edge that gives its calls so many seconds at the most."""

    def __init__(self, seconds: float, *route: Any) -> None:
        super().__init__(*route)
        self._seconds = seconds

    def __call__(self, request: Any, timeout: float | None = None, *more: Any, **named: Any) -> Any:
        return super().__call__(request, self._within(timeout), *more, **named)

    def with_call(
        self, request: Any, timeout: float | None = None, *more: Any, **named: Any
    ) -> tuple[Any, LocalRpc]:
        """The response, and the call with its headers and trailers."""
        return super().with_call(request, self._within(timeout), *more, **named)

    def future(
        self, request: Any, timeout: float | None = None, *more: Any, **named: Any
    ) -> LocalRpc:
        """The call, under way in a thread of its own."""
        return super().future(request, self._within(timeout), *more, **named)

    def _within(self, timeout: float | None) -> float:
        return self._seconds if timeout is None else min(timeout, self._seconds)


class LocalUnaryStream(LocalCallable, UnaryStream):
    """One request, a stream of responses."""

    server_streaming = True

    def __call__(
        self, request: Any, timeout: float | None = None, metadata: Any = None, *_: Any, **__: Any
    ) -> LocalRpc:
        return self._begin(request, timeout, metadata)


class LocalStreamUnary(LocalCallable, StreamUnary):
    """A stream of requests, one response."""

    client_streaming = True

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        return self._begin(request_iterator, timeout, metadata).result()

    def with_call(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *_: Any,
        **__: Any,
    ) -> tuple[Any, LocalRpc]:
        """The response, and the call with its headers and trailers."""
        rpc = self._begin(request_iterator, timeout, metadata)
        return rpc.result(), rpc

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *_: Any,
        **__: Any,
    ) -> LocalRpc:
        """The call, under way in a thread of its own."""
        return self._begin(request_iterator, timeout, metadata)


class LocalStreamStream(LocalCallable, StreamStream):
    """A stream each way."""

    client_streaming = server_streaming = True

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *_: Any,
        **__: Any,
    ) -> LocalRpc:
        return self._begin(request_iterator, timeout, metadata)
