"""The gateway on a socket: HTTP/1.1, in a thread of this process."""

from __future__ import annotations

import asyncio
import math
import threading
from time import monotonic
from typing import TYPE_CHECKING

import uvicorn

from portico.gateway.asgi import Application
from portico.gateway.connection import BoundedConnection
from portico.gateway.workers import Workers
from portico.resilience.admission import Admission
from portico.resilience.queue_metrics import measure_queue
from portico.telemetry import logs

if TYPE_CHECKING:
    import socket

    from portico.gateway.gateway import Gateway
    from portico.telemetry.metrics import Metrics

_STARTING_SECONDS = 10.0
# uvicorn looks ten times a second whether it shall end, and waits a tenth for answers to leave.
_MARGIN_SECONDS = 1.0

_log = logs.logger("portico.gateway")


class HttpServer:
    """Serves ``gateway`` on ``listener``, a socket from ``listen``.

    One thread reads and writes, ``threads`` others make the calls. Signals are not its business.
    It starts and stops once.
    """

    def __init__(self, gateway: Gateway, *, listener: socket.socket, threads: int = 8) -> None:
        limits = gateway.limits
        self._listener = listener
        self._host, self._port = listener.getsockname()[:2]
        connections = BoundedConnection.bounded_by(limits)
        self._workers = Workers(
            name="portico-http",
            threads=threads,
            admission=Admission(
                most_waiting=limits.waiting, patience_seconds=limits.waiting_seconds
            ),
        )
        self._server = _Server(
            uvicorn.Config(
                Application(gateway, workers=self._workers),
                http=connections,
                ws="none",
                lifespan="off",
                loop="asyncio",
                interface="asgi3",
                log_config=None,
                log_level="error",  # its warnings are about what clients do wrong
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=round(limits.idle_seconds),
            ),
            connections,
        )
        self._thread = threading.Thread(target=self._run, name="portico-http-loop", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens: ``http://127.0.0.1:8080``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def port(self) -> int:
        """The port it listens on, also when the listener was opened with 0."""
        return int(self._port)

    def measure(self, metrics: Metrics, *, listener: str) -> None:
        """Let ``metrics`` tell of the requests that wait, and of those that were refused."""
        measure_queue(self._workers, metrics, listener=listener)

    def start(self) -> None:
        """Accept connections; returns when it does."""
        self._workers.start()
        self._thread.start()
        if not self._server.settled.wait(_STARTING_SECONDS) or not self._server.started:
            self.stop(0)
            raise RuntimeError(f"the HTTP server on {self.address} did not start")

    def leave(self) -> None:
        """Accept nothing more, and close each connection with its next answer, before ``stop`` ends the rest.

        For a listener that other processes accept from as well: their clients find them without a failure.
        """
        self._server.leave()

    def stop(self, grace_seconds: float) -> bool:
        """Accept nothing more and let running requests finish.

        After ``grace_seconds``, rounded up, what still runs is answered with 503 and left behind. Returns
        whether everything had ended by then.
        """
        whole_seconds = math.ceil(grace_seconds)
        until = monotonic() + whole_seconds + _MARGIN_SECONDS
        self._server.grace_seconds = whole_seconds
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(until - monotonic())
        self._listener.close()
        ended = self._workers.stop(until - monotonic()) and not self._thread.is_alive()
        if not ended:
            _log.warning("requests_left_behind", address=self.address)
        return ended

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._server.settled.set()


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it has started and leaves no connection open at its end."""

    def __init__(self, config: uvicorn.Config, connections: type[BoundedConnection]) -> None:
        super().__init__(config)
        self.settled = threading.Event()
        self.grace_seconds = 0
        self._connections = connections
        self._loop: asyncio.AbstractEventLoop | None = None

    def leave(self) -> None:
        if self._loop is not None and not self.should_exit:
            self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        # Not by closing the servers: asyncio drops connections that it has accepted a moment ago.
        for server in self.servers:
            for listener in server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
        self._connections.leaving = True
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedConnection):
                connection.leave()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.settled.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.timeout_graceful_shutdown = self.grace_seconds
        await super().shutdown(sockets)
        await _settled(list(self.server_state.tasks))
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


async def _settled(tasks: list[asyncio.Task[None]]) -> None:
    """Let requests that were given up say so to their clients."""
    if tasks:
        await asyncio.wait(tasks, timeout=_MARGIN_SECONDS / 2)
