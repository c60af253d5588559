"""The gRPC server of a process: every servicer of its registry on one port."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

import grpc

from portico.resilience.admission import Admission
from portico.resilience.queue_metrics import measure_queue
from portico.rpc.health import SERVICE_NAME as HEALTH
from portico.rpc.health import Health
from portico.rpc.network_calls import handlers_of
from portico.rpc.reflecting import add_reflection
from portico.rpc.shedding import Shedding
from portico.rpc.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import ThreadPoolExecutor

    from portico.rpc.hops import Hops
    from portico.rpc.interfaces import Handler
    from portico.rpc.policy import Policy
    from portico.rpc.registry import Registry
    from portico.rpc.sharing import PortSharing
    from portico.telemetry.metrics import Metrics

# Old connections are closed in good order: their streams get the grace to end, and clients that sit behind
# a load balancer spread anew.
_CONNECTION_AGE_SECONDS = 15 * 60
_CONNECTION_GRACE_SECONDS = 60

# Clients may ask this often whether we are there, and we ask those that have been quiet for so long.
_LEAST_PING_SECONDS = 5
_KEEPALIVE_SECONDS = 60
_KEEPALIVE_TIMEOUT_SECONDS = 20

# A call that gRPC's core could not hand over for so long is refused by it: the last resort when refusing
# calls is itself too much work.
_UNTOUCHED_SECONDS = 1

# grpcio never finishes a call with a stream of requests one of which was no message, and waits for it.
_AFTER_GRACE_SECONDS = 1

# Beyond those that run or wait: for health and reflection.
_SPARE_CALLS = 50


class Server:
    """Serves a registry over HTTP/2, with health per service and reflection.

    In three moves, so that a taken port is told before anything else starts: ``bind``, ``mount``,
    ``start``. ``threads`` calls run at a time, the others wait their turn unless ``admission`` refuses
    them: at once, with RESOURCE_EXHAUSTED and reason OVERLOADED. Health and reflection are not refused.
    ``host`` may be a Unix socket, ``unix:/path``, which has no port. With ``credentials`` all of it is
    under TLS. With ``sharing`` several processes may serve on the port. ``setting`` is what a person
    changes when it is taken.

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
        admission: Admission | None = None,
        max_message_bytes: int = 4 * 1024 * 1024,
        credentials: grpc.ServerCredentials | None = None,
        sharing: PortSharing | None = None,
        setting: str = "grpc_host and grpc_port",
    ) -> None:
        self.host = host
        self.port = port
        self._credentials = credentials
        self._sharing = sharing
        self._setting = setting
        self._services: tuple[str, ...] = ()
        options = (
            # Where nobody asked for it, a second server on the port is a mistake to be told.
            ("grpc.so_reuseport", int(sharing is not None)),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            *_ageing(sharing),
            ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_SECONDS * 1000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", _KEEPALIVE_SECONDS * 1000),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_SECONDS * 1000),
            ("grpc.server_max_unrequested_time_in_server", _UNTOUCHED_SECONDS),
        )
        admission = admission or Admission()
        self._workers = Workers(threads, admission=admission)
        self._shedding = Shedding(self._workers)
        self._server = grpc.server(
            cast("ThreadPoolExecutor", self._workers),
            options=options,
            interceptors=[self._shedding],
            maximum_concurrent_rpcs=threads + admission.most_waiting + _SPARE_CALLS,
        )
        self._health = Health()

    @property
    def address(self) -> str:
        """``host:port``, the real port once started; a Unix socket's own name."""
        return self.host if self._is_path else _address(self.host, self.port)

    def bind(self) -> None:
        """Take the port, without serving yet; OSError when somebody has it.

        A shared one is taken at the start: others answer there until then.
        """
        if self._sharing is not None:
            return
        if not self._is_path:
            _refuse_taken(self.host, self.port, self._setting)
        self._listen()

    def _listen(self) -> None:
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
        self._health.add_to(self._server)
        add_reflection(self._server, (*self._services, HEALTH))

    def measure(self, metrics: Metrics, *, listener: str) -> None:
        """Let ``metrics`` tell of the calls that wait, and of those that were refused."""
        measure_queue(self._workers, metrics, listener=listener)

    def start(self) -> None:
        """Serve, and report every service healthy."""
        if self._sharing is not None:
            self._listen()
        self._workers.start()
        self._server.start()
        self._health.serving(self._services)

    def stop(self, grace_seconds: float) -> None:
        """Report unhealthy, refuse new calls, and let running ones end within ``grace_seconds``."""
        if self._sharing is None:  # else clients would believe it of the others, too
            self._health.leaving()
        self._server.stop(grace_seconds).wait(grace_seconds + _AFTER_GRACE_SECONDS)
        self._shedding.close()
        self._workers.stop()

    @property
    def _is_path(self) -> bool:
        return self.host.startswith("unix:")


def _ageing(sharing: PortSharing | None) -> tuple[tuple[str, int], ...]:
    """When connections are asked to be made anew, and how long their calls may go on after that."""
    sooner = None if sharing is None else sharing.connection_age_seconds
    age, grace = (
        (_CONNECTION_AGE_SECONDS, _CONNECTION_GRACE_SECONDS)
        if sooner is None
        else (sooner, _CONNECTION_AGE_SECONDS)
    )
    return (
        ("grpc.max_connection_age_ms", round(age * 1000)),
        ("grpc.max_connection_age_grace_ms", round(grace * 1000)),
    )


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
