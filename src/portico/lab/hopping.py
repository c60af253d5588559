"""A hop as between the processes of a topology: a peer with a passport, a server that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portico.clock import SystemClock
from portico.lab.subject import MODULE
from portico.lab.v1 import hop_pb2_grpc
from portico.rpc.hops import Hops
from portico.rpc.peer import Peer
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.server import Server
from portico.security.passport import Passports

if TYPE_CHECKING:
    from portico.resilience.settings import RemoteSettings

SERVICE = "portico.lab.v1.HopService"
PATH = f"/{SERVICE}/Hop"
CALLER = "caller"

_SECRET = b"of the laboratory, and of no use elsewhere"


def peer_at(address: str, *, settings: RemoteSettings | None = None) -> Peer:
    """The process there, with everything that a topology's processes use between them."""
    return Peer(
        address, services=(SERVICE,), process="callee", settings=settings, passports=_passports()
    )


def stub_of(peer: Peer) -> Any:
    """Calls to ``peer`` in the name of a module."""
    return hop_pb2_grpc.HopServiceStub(peer.channel(caller=CALLER))


def serving(servicer: hop_pb2_grpc.HopServiceServicer, *, port: int = 0) -> Server:
    """A hop server with ``servicer``, started."""
    registry = Registry()
    add: Any = hop_pb2_grpc.add_HopServiceServicer_to_server
    add(servicer, registry.registrar(MODULE))
    server = Server(port=port)
    server.bind()
    server.mount(registry, Policy(), hops=Hops(_passports(), {SERVICE: frozenset({CALLER})}))
    server.start()
    return server


def _passports() -> Passports:
    return Passports(_SECRET, clock=SystemClock())
