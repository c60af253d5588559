"""The transcoder: an HTTP request in, a gRPC call, an HTTP answer out. No sockets here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from portico.errors import StatusError, internal, invalid_argument
from portico.gateway import problem
from portico.gateway.answer import compile_answer
from portico.gateway.binding import Binding
from portico.gateway.codec import MessageError, UnprintableError, choose
from portico.gateway.document import DocumentError, printable
from portico.gateway.exchange import Response
from portico.gateway.headers import (
    HeadersTooLargeError,
    name_request,
    request_id_of,
    timeout_of,
    to_metadata,
)
from portico.gateway.limits import Limits
from portico.gateway.probes import Probes
from portico.gateway.refusal import log_refusal
from portico.gateway.router import Router
from portico.gateway.rules import Route, RuleError, read_routes
from portico.gateway.stream import Stream
from portico.rpc.idempotency import takes_key
from portico.rpc.status import from_rpc_error
from portico.telemetry import logs, tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

    from portico.gateway.answer import Written
    from portico.gateway.codec import Codec
    from portico.gateway.exchange import Headers, Request
    from portico.telemetry.otel.rest import Serve
    from portico.telemetry.otel.tracer import Tracer

_BAD_REQUEST = "INVALID_REQUEST"
_MALFORMED = "MALFORMED_JSON"
_CURL_DEFAULT = "application/x-www-form-urlencoded"
_INVALID = grpc.StatusCode.INVALID_ARGUMENT

_log = logs.logger("portico.gateway")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A route, compiled: nothing is looked up per request that could be known before."""

    route: Route
    binding: Binding
    answer: Callable[[Message], Written]
    call: Callable[..., Any]
    keyed: bool
    """Whether ``Idempotency-Key`` has a ``request_id`` to fill."""


class Gateway:
    """REST for ``services``, called over ``channel``.

    ``channel`` is any ``grpc.Channel``: a ``LocalChannel`` or a socket. The services are named as
    ``commerce.orders.v1.OrdersService`` and found in ``pool``, by default the pool of the generated
    code. ``not_ready`` returns the names of what is not ready yet, ``metrics`` a body and its
    content type. Raises ``LookupError`` for an unknown service and ``RuleError`` for an rpc whose
    ``google.api.http`` does not fit.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        services: Sequence[str],
        *,
        pool: DescriptorPool | None = None,
        codec: Codec | None = None,
        limits: Limits | None = None,
        not_ready: Callable[[], Sequence[str]] = tuple,
        metrics: Callable[[], tuple[bytes, str]] | None = None,
        new_request_id: Callable[[], str] = tracing.new_trace_id,
    ) -> None:
        pool = pool if pool is not None else descriptor_pool.Default()
        self.limits = limits if limits is not None else Limits()
        self._channel = channel
        self._new_request_id = new_request_id
        self._probes = Probes(not_ready, metrics)
        self._router: Router[_Endpoint] = Router()
        self._answer_route: Serve = self._serve
        routes = list(read_routes(pool, services))
        methods = {route.method for route in routes}
        messages = [each for method in methods for each in (method.input_type, method.output_type)]
        self._codec = codec if codec is not None else choose(pool, messages)
        for route in routes:
            self._add(route)

    def trace(self, tracer: Tracer) -> None:
        """Have every request that has a route get a span, from now on."""
        self._answer_route = tracer.rest(self._answer_route)

    def handle(self, request: Request) -> Response:
        """Answer a request. Never raises: what goes wrong is an answer too."""
        answer = self.dispatch(request)
        return answer.begin() if isinstance(answer, Stream) else answer

    def dispatch(self, request: Request) -> Response | Stream:
        """As ``handle``, but for a streamed answer, which is not waited for: its ``begin`` does."""
        request_id = self.request_id(request.headers)
        try:
            answer = self._answer(request, request_id)
            if isinstance(answer, Response):
                log_refusal(request.method, request.path, answer)
            return answer
        except Exception as failure:  # noqa: BLE001  # a mistake of ours must not end a connection
            _log.error("unexpected", request_id=request_id, exc_info=failure)
            return problem.respond(internal("INTERNAL", repr(failure)), request_id)

    def request_id(self, headers: Headers) -> str:
        """The request id that the client chose, or a new one."""
        return request_id_of(headers) or self._new_request_id()

    def _answer(self, request: Request, request_id: str) -> Response | Stream:
        probe = self._probes.answer(request)
        if probe is not None:
            return probe
        found = self._router.match(request.method, request.path)
        if found.route is None:
            return self._no_route(request, found.allowed, request_id)
        return self._answer_route(found.route, request, found.segments, request_id)

    def _add(self, route: Route) -> None:
        method = route.method
        try:
            binding = Binding(route, self._codec, most_parameters=self.limits.parameters)
        except LookupError as error:
            raise RuleError(f"{method.full_name}: {error}") from error
        open_call = (
            self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        )
        call = open_call(
            route.path,
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        keyed = takes_key(method.input_type)
        endpoint = _Endpoint(route, binding, compile_answer(route, self._codec), call, keyed)
        taken = self._router.add(route.http_method, route.template, endpoint)
        if taken is not None:
            other = taken.route.method.full_name
            raise RuleError(f"{method.full_name}: {other} has the same method and path")

    def _serve(
        self, endpoint: _Endpoint, request: Request, segments: list[str], request_id: str
    ) -> Response | Stream:
        route = endpoint.route
        refusal = self._refusal(endpoint, request, request_id)
        if refusal is not None:
            return refusal
        try:
            metadata = to_metadata(
                request.headers, request_id, most_bytes=self.limits.metadata_bytes
            )
            message = self._message(endpoint, request, segments)
            timeout = self._timeout(route, request)
        except HeadersTooLargeError as error:
            return problem.refuse(431, _INVALID, "HEADERS_TOO_LARGE", str(error), request_id)
        except StatusError as error:
            # The faults of a document have JSON names already; what is unknown must come back as it was.
            names = None if error.reason == _BAD_REQUEST else route.method.input_type
            return replace(problem.respond(error, request_id, names), refused=error.reason)
        if route.method.server_streaming:
            return Stream(endpoint.call, message, timeout, metadata, endpoint.answer, request_id)
        try:
            response = endpoint.call(message, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            return problem.respond(from_rpc_error(error), request_id, route.method.input_type)
        return self._written(endpoint, response, request_id)

    def _refusal(self, endpoint: _Endpoint, request: Request, request_id: str) -> Response | None:
        """The answer to what this route does not serve at all."""
        if endpoint.route.method.client_streaming:
            text = "this method takes a stream of requests, which REST has no form for"
            return problem.refuse(
                501, grpc.StatusCode.UNIMPLEMENTED, "STREAM_OF_REQUESTS", text, request_id
            )
        if request.body and endpoint.binding.takes_json and not _is_json(request):
            text = "the body must be application/json in UTF-8"
            return problem.refuse(415, _INVALID, "CONTENT_TYPE", text, request_id)
        return None

    def _message(self, endpoint: _Endpoint, request: Request, segments: list[str]) -> Message:
        try:
            message = endpoint.binding.message(request, segments)
        except DocumentError as error:
            raise invalid_argument(_MALFORMED, f"the body is not JSON: {error}") from None
        except MessageError as error:
            raise invalid_argument(_BAD_REQUEST, str(error), violations=error.violations) from None
        if endpoint.keyed:
            name_request(message, request.headers)
        return message

    def _timeout(self, route: Route, request: Request) -> float:
        limits = self.limits
        if route.method.server_streaming:
            default = most = limits.stream_seconds
        else:
            default, most = limits.default_timeout_seconds, limits.timeout_seconds
        return timeout_of(request.headers, default=default, most=most)

    def _written(self, endpoint: _Endpoint, response: Message, request_id: str) -> Response:
        try:
            body, headers = endpoint.answer(response)
        except UnprintableError as failure:
            return problem.respond(internal("UNPRINTABLE", str(failure)), request_id)
        return Response(endpoint.route.status, [*headers, ("x-request-id", request_id)], body)

    def _no_route(self, request: Request, allowed: tuple[str, ...], request_id: str) -> Response:
        if not allowed:
            path = printable(request.path)
            return problem.refuse(
                404,
                grpc.StatusCode.NOT_FOUND,
                "NO_ROUTE",
                f"there is nothing at {path}",
                request_id,
            )
        allow = ("allow", ", ".join((*allowed, "OPTIONS")))
        if request.method == "OPTIONS":
            return Response(204, [allow, ("x-request-id", request_id)])
        method = printable(request.method)
        return problem.refuse(
            405, grpc.StatusCode.UNIMPLEMENTED, "METHOD_NOT_ALLOWED",
            f"{method} is not served here; {allow[1]} are", request_id, allow,
        )  # fmt: skip


def _is_json(request: Request) -> bool:
    """Whether the body claims to be JSON in UTF-8; one that claims nothing is taken for it.

    So is one with the label that ``curl -d`` gives to whatever it sends: no route takes forms.
    """
    content_type = request.header("content-type")
    if not content_type or content_type in {"application/json", _CURL_DEFAULT}:
        return True
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        return False
    charsets = [each for each in parameters if each.startswith("charset=")]
    return all(each.partition("=")[2].strip('"') in {"utf-8", "utf8"} for each in charsets)
