"""Health of a server and of each of its services, told by a thread that no other call can take."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SERVICE_NAME: str = health.SERVICE_NAME

_SERVING = health_pb2.HealthCheckResponse.SERVING


class Health:
    """The health service of one server."""

    def __init__(self) -> None:
        self._servicer = health.HealthServicer()

    def add_to(self, server: grpc.Server) -> None:
        """Let ``server`` tell of its health, however many calls wait for its threads.

        Whoever watches holds no thread: grpcio calls back with each change.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix="portico-health")

        def check(request: Any, context: grpc.ServicerContext) -> Any:
            return self._servicer.Check(request, context)

        def watch(request: Any, context: grpc.ServicerContext, send: Callable[..., Any]) -> None:
            self._servicer.Watch(request, context, send)

        # grpcio looks for these on the function.
        check.experimental_thread_pool = pool  # type: ignore[attr-defined]
        watch.experimental_thread_pool = pool  # type: ignore[attr-defined]
        watch.experimental_non_blocking = True  # type: ignore[attr-defined]
        codecs = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
        }
        server.add_registered_method_handlers(
            SERVICE_NAME,
            {
                "Check": grpc.unary_unary_rpc_method_handler(check, **codecs),
                "Watch": grpc.unary_stream_rpc_method_handler(watch, **codecs),
            },
        )

    def serving(self, services: Iterable[str]) -> None:
        """Report the server as a whole and each of ``services`` healthy."""
        for service in ("", *services):
            self._servicer.set(service, _SERVING)

    def leaving(self) -> None:
        """Report everything unhealthy, for good."""
        self._servicer.enter_graceful_shutdown()
