"""Where a program is reached from outside: gRPC on one port, REST on another."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from portico.gateway import Gateway, HttpServer, Limits, inherited, listen
from portico.resilience.admission import Admission
from portico.rpc.server import Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    import grpc

    from portico.rpc.interfaces import Handler
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Registry
    from portico.settings import Settings
    from portico.telemetry.metrics import Metrics


class Front:
    """Both servers of a program. ``take_ports`` comes first of all, ``open`` last of all.

    Where clients do not come, in a process that is no ``public`` front, there is HTTP alone, for the
    probes and the metrics.
    """

    def __init__(self, settings: Settings, *, public: bool = True) -> None:
        self._settings = settings
        self._server = (
            Server(
                host=settings.grpc_host,
                port=settings.grpc_port,
                threads=settings.grpc_threads,
                max_message_bytes=settings.max_message_bytes,
                sharing=settings.supervised.sharing(),
                admission=Admission(patience_seconds=settings.grpc_patience_ms / 1000),
            )
            if public
            else None
        )
        self._http: HttpServer | None = None
        self._ports = ExitStack()

    @property
    def grpc_address(self) -> str:
        """``host:port`` of gRPC; empty when it is not public."""
        return "" if self._server is None else self._server.address

    @property
    def http_address(self) -> str:
        """``http://host:port`` of REST; empty while it is not open."""
        return "" if self._http is None else self._http.address

    def take_ports(self) -> None:
        """Take both ports; OSError names the one that somebody has."""
        with ExitStack() as stack:
            if self._server is not None:
                self._server.bind()
            self._listener = _http_socket(self._settings)
            stack.callback(self._listener.close)
            self._ports = stack.pop_all()

    def open(
        self,
        registry: Registry,
        policy: Policy,
        *,
        channel: grpc.Channel,
        services: Sequence[str],
        forwarded: Mapping[str, Mapping[str, Handler]],
        metrics: Metrics,
        scrape: Callable[[], tuple[bytes, str]],
        not_ready: Callable[[], Sequence[str]],
    ) -> None:
        """Serve the registry over gRPC, and ``services`` over REST through ``channel``.

        ``forwarded`` are gRPC's handlers of what other processes serve, by service and method. ``scrape``
        answers ``/metrics``.
        """
        if self._server is not None:
            self._server.measure(metrics, listener="public")
            self._server.mount(registry, policy, forwarded=forwarded)
        gateway = Gateway(
            channel,
            services if self._server is not None else (),
            limits=Limits(
                body_bytes=self._settings.max_body_bytes,
                default_timeout_seconds=self._settings.default_timeout_seconds,
            ),
            not_ready=not_ready,
            metrics=scrape,
        )
        if policy.tracer is not None:
            gateway.trace(policy.tracer)
        self._http = HttpServer(
            gateway, listener=self._listener, threads=self._settings.http_threads
        )
        self._http.measure(metrics, listener="rest")
        if self._server is not None:
            self._server.start()
        self._http.start()

    def leave(self) -> None:
        """Leave new connections to those who share the ports; go on with the others until ``close``."""
        if self._http is not None:
            self._http.leave()

    def close(self) -> None:
        """Refuse new calls on both ports and let running ones end, ``drain_seconds`` at the most."""
        grace_seconds = self._settings.drain_seconds
        http, self._http = self._http, None
        if http is None:  # never opened, or closed before
            self._ports.close()
            return
        rest = threading.Thread(target=http.stop, args=(grace_seconds,))
        rest.start()
        if self._server is not None:
            self._server.stop(grace_seconds)
        rest.join()


def _http_socket(settings: Settings) -> socket.socket:
    """The one that whoever started this process listens on, else one of our own."""
    if settings.supervised.http_socket is not None:
        return inherited(settings.supervised.http_socket)
    return listen(host=settings.http_host, port=settings.http_port)
