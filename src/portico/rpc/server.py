"""The gRPC server of a process: every servicer of its registry on one port."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from portico.rpc.network_calls import handlers_of
from portico.rpc.reflecting import add_reflection
from portico.rpc.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import ThreadPoolExecutor

    from portico.rpc.hops import Hops
    from portico.rpc.interfaces import Handler
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Registry

# Old connections are closed in good order: their streams get the grace to end, and clients that sit behind
# a load balancer spread anew.
_CONNECTION_AGE_SECONDS = 15 * 60
_CONNECTION_GRACE_SECONDS = 60

_SERVING = health_pb2.HealthCheckResponse.SERVING


class Server:
    """Serves a registry over HTTP/2, with health per service and reflection.

    In three moves, so that a taken port is told before anything else starts: ``bind``, ``mount``,
    ``start``. ``threads`` calls run at a time; the others wait their turn until their deadline, and
    beyond ``most_calls`` in all they are refused with RESOURCE_EXHAUSTED. ``host`` may be a Unix socket,
    ``unix:/path``, which has no port. With ``credentials`` all of it is under TLS. With ``reuse_port``
    several processes may serve on the port. ``setting`` is what a person changes when it is taken.

    grpcio gives a call its thread before the request message is there. A client that opens calls and
    sends no message holds threads until its connection is ``_CONNECTION_AGE_SECONDS`` old, when it is
    asked to connect anew.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        threads: int = 8,
        most_calls: int = 1000,
        max_message_bytes: int = 4 * 1024 * 1024,
        credentials: grpc.ServerCredentials | None = None,
        reuse_port: bool = False,
        setting: str = "grpc_host and grpc_port",
    ) -> None:
        self.host = host
        self.port = port
        self._credentials = credentials
        self._reuse_port = reuse_port
        self._setting = setting
        self._services: tuple[str, ...] = ()
        options = (
            # Where nobody asked for it, a second server on the port is a mistake to be told.
            ("grpc.so_reuseport", int(reuse_port)),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_connection_age_ms", _CONNECTION_AGE_SECONDS * 1000),
            ("grpc.max_connection_age_grace_ms", _CONNECTION_GRACE_SECONDS * 1000),
        )
        self._workers = Workers(threads)
        self._server = grpc.server(
            cast("ThreadPoolExecutor", self._workers),
            options=options,
            maximum_concurrent_rpcs=most_calls,
        )
        self._health = health.HealthServicer()

    @property
    def address(self) -> str:
        """``host:port``, the real port once started; a Unix socket's own name."""
        return self.host if self._is_path else _address(self.host, self.port)

    def bind(self) -> None:
        """Take the port, without serving yet; OSError when somebody has it."""
        if not (self._is_path or self._reuse_port):
            _refuse_taken(self.host, self.port, self._setting)
        try:
            if self._credentials is None:
                self.port = self._server.add_insecure_port(self.address)
            else:
                self.port = self._server.add_secure_port(self.address, self._credentials)
        except RuntimeError as failure:
            raise OSError(f"gRPC cannot listen on {self.address}") from failure

    def mount(
        self,
        registry: Registry,
        policy: Policy,
        *,
        caller: str = "",
        hops: Hops | None = None,
        forwarded: Mapping[str, Mapping[str, Handler]] | None = None,
    ) -> None:
        """Take the servicers to serve; ``caller`` is the module that calls, empty for the world outside.

        With ``hops`` each call is from the module that its passport names. ``forwarded`` are the
        handlers of services that another process serves, by service and method.
        """
        served = {**handlers_of(registry, policy, caller, hops), **(forwarded or {})}
        self._services = tuple(served)
        for service, handlers in served.items():
            self._server.add_registered_method_handlers(service, dict(handlers))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_reflection(self._server, (*self._services, health.SERVICE_NAME))

    def start(self) -> None:
        """Serve, and report every service healthy."""
        self._workers.start()
        self._server.start()
        for service in ("", *self._services):
            self._health.set(service, _SERVING)

    def stop(self, grace_seconds: float) -> None:
        """Report unhealthy, refuse new calls, and let running ones end within ``grace_seconds``."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        self._workers.stop()

    @property
    def _is_path(self) -> bool:
        return self.host.startswith("unix:")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refuse_taken(host: str, port: int, setting: str) -> None:
    """Say that a port is taken before gRPC's core complains about it in its own way, on stderr."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as failure:
            raise OSError(
                f"gRPC cannot listen on {_address(host, port)}: {failure.strerror};"
                f" {setting} choose another"
            ) from failure
