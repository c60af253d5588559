"""The same servicers behind every transport that the kernel has, and behind plain grpcio."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import grpc

from portico.context import Call, Origin, current_or_none
from portico.rpc.local import LocalChannel
from portico.rpc.metadata import first_of_each
from portico.rpc.origin import origin_of
from portico.rpc.placed import PlacedChannel
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.testing.servicer import ServicerChannel
from portico.testing.serving import Served
from portico.testing.sharing import WatchedChannel

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    Populate: TypeAlias = Callable[[Any], Any]

Transport = Literal["plain", "raw", "front", "servicer", "local", "shared", "unix", "tcp", "mtls"]
"""How a stub reaches its servicer. Three are yardsticks, with a client of grpcio's: against a server of
grpcio's, against the kernel's, and against a front that hands calls on to the kernel's. The others are
the kernel's own: straight; in the process, with and without copies of messages; over a socket of three
kinds, as between two processes."""

EVERY: tuple[Transport, ...] = get_args(Transport)
YARDSTICKS, TRANSPORTS = EVERY[:3], EVERY[3:]

MODULE, NEIGHBOUR = "tested", "neighbour"
"""The module whose servicers they are, and another."""

_THREADS = 8


class Stand:
    """Servicers of their own behind one transport; a context manager.

    ``populate`` adds them to what it is given, with the generated ``add_…_to_server``; what it
    returns is ``servicer``. Over ``shared``, a message that somebody changes after it was handed
    over is an error (``portico.testing.sharing``). ``around`` wraps every channel.
    """

    def __init__(
        self,
        transport: Transport,
        populate: Populate,
        *,
        policy: Policy | None = None,
        around: Callable[[grpc.Channel], Any] | None = None,
    ) -> None:
        self.servicer: Any = None
        self._transport = transport
        self._populate = populate
        self._policy = policy or Policy()
        self._around = around
        self._registry = Registry()
        self._channels: dict[str | None, Any] = {}
        self._watched: list[WatchedChannel] = []
        self._dial: Callable[[str | None], grpc.Channel] = self._in_process
        self._stack = ExitStack()

    @property
    def channel(self) -> grpc.Channel:
        """A channel of the world outside."""
        return self.channel_of("")

    @property
    def client(self) -> grpc.Channel:
        """The same with a connection of its own, which ends when it is closed."""
        return self.channel_of(None)

    def channel_of(self, module: str | None) -> grpc.Channel:
        """A channel of ``MODULE`` or of ``NEIGHBOUR``; plain grpcio knows of no modules."""
        if module not in self._channels:
            channel = self._stack.enter_context(self._dial(module))
            if module and self._transport != "plain":
                channel = _placed(channel)
            self._channels[module] = self._around(channel) if self._around else channel
        found: grpc.Channel = self._channels[module]
        return found

    def verify(self) -> None:
        """Raise ``SharedMessageChangedError`` when somebody has changed a message that is shared."""
        for channel in self._watched:
            channel.verify()

    def start(self) -> None:
        """Make the servicers, and serve them if they are served."""
        if self._transport == "plain":
            address = self._serve_plainly()
            self._dial = lambda _: grpc.insecure_channel(address)
            return
        self.servicer = self._populate(self._registry.registrar(MODULE))
        if self._transport in {"raw", "front", "unix", "tcp", "mtls"}:
            self._dial = self._served(self._transport)

    def stop(self) -> None:
        """Close channels and servers."""
        self._stack.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _in_process(self, module: str | None) -> grpc.Channel:
        caller = module or ""
        if self._transport == "servicer":
            return ServicerChannel(self._registry, opened=self._opening(caller))
        if self._transport == "local":
            return LocalChannel(self._registry, policy=self._policy, caller=caller)
        watched = WatchedChannel(self._registry, policy=self._policy, caller=caller)
        self._watched.append(watched)
        return watched

    def _opening(self, caller: str) -> Callable[[str, str, Any], Call]:
        authenticate = self._policy.authenticate

        def opening(path: str, module: str, metadata: Any) -> Call:
            found, parent = first_of_each(metadata), current_or_none()
            token = found.get("authorization")
            origin = origin_of(found) if parent is None else parent.origin
            if token is not None and authenticate is not None:
                identity = authenticate(str(token))
                origin = Origin(identity, origin.request_id, origin.trace_id, origin.span_id)
            return Call(None, origin, path, module, caller, None, metadata)

        return opening

    def _served(self, transport: Any) -> Callable[[str | None], grpc.Channel]:
        """Serve; how to connect then, for a module, for the world outside, for a client (None)."""
        foreign = transport in {"raw", "front"}
        served = Served(
            self._registry,
            self._policy,
            socket="tcp" if foreign else transport,
            callers=frozenset({MODULE, NEIGHBOUR}),
        )
        self._stack.callback(served.stop)
        address = served.front(self._populate) if transport == "front" else None

        def dial(module: str | None) -> grpc.Channel:
            if module or not (foreign or module is None):
                return served.channel(module or "")
            return served.client(address) if foreign else served.wrapped_client()

        return dial

    def _serve_plainly(self) -> str:
        pool = self._stack.enter_context(ThreadPoolExecutor(_THREADS))
        server = grpc.server(pool)
        self.servicer = self._populate(server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._stack.callback(lambda: server.stop(0).wait())
        return f"127.0.0.1:{port}"


def _placed(channel: grpc.Channel) -> grpc.Channel:
    """The channel as a module gets it, which does not know where a service is."""
    return PlacedChannel(lambda _: channel)
