"""Servicers behind a socket: the kernel's server and its connection to it, as between two processes."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import grpc

from portico.clock import SystemClock
from portico.resilience.admission import Admission
from portico.resilience.settings import RemoteSettings
from portico.rpc.forward import forwarders
from portico.rpc.hops import Hops
from portico.rpc.peer import Peer
from portico.rpc.registry import Registry
from portico.rpc.remote import RemoteChannel
from portico.rpc.server import Server
from portico.security.authority import issue_all
from portico.security.certificates import Certificates
from portico.security.passport import Passports
from portico.topology import Process, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from portico.rpc.policy import Policy

Socket: TypeAlias = Literal["unix", "tcp", "mtls"]

_PROCESS = "tested"
_SECRET = b"of no process but this one"
_THREADS = 8
# A busy machine is no overload, and what a script provokes says nothing about the connection: what
# refuses calls between processes has tests of its own.
_ADMISSION = Admission(most_waiting=1000, patience_seconds=60)
_SETTINGS = RemoteSettings(breaker=False)


class Served:
    """Serves ``registry`` to the modules ``callers`` and to the world outside, from the start.

    Each module calls as it would from another process: by a ``Peer``, with a passport, and under
    ``mtls`` with a certificate. ``stop`` ends everything.
    """

    def __init__(
        self, registry: Registry, policy: Policy, *, socket: Socket, callers: Iterable[str]
    ) -> None:
        self._stack = ExitStack()
        self._registry = registry
        self._policy = policy
        certificates = self._certified(callers) if socket == "mtls" else None
        self._certificates = certificates
        self._passports = Passports(_SECRET, clock=SystemClock())
        self._server = Server(
            host=f"unix:{self._folder()}/socket" if socket == "unix" else "127.0.0.1",
            threads=_THREADS,
            admission=_ADMISSION,
            credentials=None if certificates is None else certificates.server_credentials(),
        )
        hops = Hops(
            passports=self._passports,
            callers=dict.fromkeys(registry.services, frozenset(callers)),
            require_certificate=certificates is not None,
        )
        self._server.bind()
        self._server.mount(registry, policy, hops=hops)
        self._server.start()
        self._stack.callback(self._server.stop, 0)

    def channel(self, caller: str) -> grpc.Channel:
        """The channel of module ``caller``; empty for the world outside, whose calls a front passes on."""
        return self._peer.channel(
            caller=caller,
            default_timeout_seconds=self._policy.default_timeout_seconds,
            commands_need_workflow=self._policy.commands_need_workflow,
        )

    def client(self, address: str | None = None) -> grpc.Channel:
        """A connection of grpcio's alone; ``address`` is a front's."""
        if self._certificates is None:
            return grpc.insecure_channel(address or self._server.address)
        return grpc.secure_channel(
            self._server.address, self._certificates.client().channel_credentials()
        )

    def wrapped_client(self) -> grpc.Channel:
        """A connection of its own, with the kernel's errors and deadlines."""
        return RemoteChannel(
            self.client(), default_timeout_seconds=self._policy.default_timeout_seconds
        )

    def front(self, populate: Callable[[Any], Any]) -> str:
        """The address of a server that hands clients' calls on to this one.

        ``populate`` adds the same servicers, which are not called there.
        """
        front = Server(threads=_THREADS, admission=_ADMISSION)
        front.bind()
        served: Any = _Described(populate)
        handlers = forwarders([served], self.channel(""))
        front.mount(Registry(), self._policy, forwarded=handlers)
        front.start()
        self._stack.callback(front.stop, 0)
        return front.address

    def stop(self) -> None:
        """End the connection and the server."""
        self._stack.close()

    @cached_property
    def _peer(self) -> Peer:
        certificates = self._certificates
        peer = Peer(
            self._server.address,
            services=tuple(self._registry.services),
            process=_PROCESS,
            certificates=None if certificates is None else certificates.client(),
            passports=self._passports,
            settings=_SETTINGS,
        )
        self._stack.callback(peer.close)
        return peer

    def _certified(self, callers: Iterable[str]) -> Certificates:
        process = Process(name=_PROCESS, modules=tuple(callers))
        topology = Topology(name=_PROCESS, processes={_PROCESS: process})
        folder = self._folder()
        issue_all(topology, folder, clock=SystemClock())
        return Certificates(folder, _PROCESS)

    def _folder(self) -> Path:
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-")))


class _Described:
    """What a front knows of a module that runs elsewhere: the methods of its services."""

    def __init__(self, populate: Callable[[Any], Any]) -> None:
        self._populate = populate

    def describe(self, registry: Registry) -> None:
        self._populate(registry.registrar(""))
