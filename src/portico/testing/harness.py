"""An application under test: the same stub over the servicer alone, the local channel and a socket."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar, get_args

import grpc

from portico import errors
from portico.context import Call, Identity, Origin
from portico.program import Program
from portico.rpc.local import LocalChannel
from portico.rpc.remote import RemoteChannel
from portico.rpc.server import Server
from portico.testing.servicer import ServicerChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from portico.app import Application
    from portico.clock import Clock
    from portico.settings import Settings

    Stub = TypeVar("Stub")

Transport = Literal["servicer", "local", "socket"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)

_SCHEME = "Test"


class Harness:
    """Starts ``application`` without ports of its own; a context manager.

    Its database must be reachable by ``settings.database_url`` and is migrated. The relay does not
    run by itself: ``settle`` delivers what is due. Signing in is by name, see ``stub``.
    """

    def __init__(
        self, application: Application, settings: Settings, *, clock: Clock | None = None
    ) -> None:
        chosen = replace(application, authenticator=lambda *_: _authenticate)
        self.program = Program(chosen, settings, clock=clock, serve=False)
        self._policy = replace(self.program.policy, commands_need_workflow=False)
        self._channels: dict[tuple[Transport, str], grpc.Channel] = {}
        self._stack = ExitStack()

    def start(self) -> None:
        """Migrate, assemble, and load the demonstration if the settings ask for it."""
        self.program.migrate()
        self.program.start(deliver=False)
        self._stack.callback(self.program.stop)

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

    def stub(
        self,
        stub_class: Callable[[grpc.Channel], Stub],
        over: Transport,
        *,
        user: str = "",
        roles: Iterable[str] = (),
        caller: str = "",
    ) -> Stub:
        """A stub whose calls are made by ``user`` with ``roles``, or by nobody.

        ``caller`` is the module that calls, for internal methods. Over ``servicer`` nothing stands
        between the stub and the servicer: no authorisation, no validation.
        """
        identity = Identity(user, frozenset(roles))
        channel = self._channel(over, caller)
        return stub_class(_signed_in(channel, identity) if user else channel)

    def settle(self) -> None:
        """Deliver every event that is due, and those that follow from it."""
        if self.program.relay is not None:
            self.program.relay.settle()

    def _channel(self, over: Transport, caller: str) -> grpc.Channel:
        if (over, caller) not in self._channels:
            self._channels[over, caller] = self._open(over, caller)
        return self._channels[over, caller]

    def _open(self, over: Transport, caller: str) -> grpc.Channel:
        registry = self.program.registry
        if over == "servicer":
            return ServicerChannel(registry, opened=_opened(caller))
        if over == "local":
            return LocalChannel(registry, policy=self._policy, caller=caller)
        server = Server()
        server.bind()
        server.mount(registry, self._policy, caller=caller)
        server.start()
        self._stack.callback(server.stop, 0)
        return self._stack.enter_context(RemoteChannel(grpc.insecure_channel(server.address)))


def authorization(identity: Identity) -> tuple[str, str]:
    """The metadata with which ``identity`` is signed in under a harness."""
    return "authorization", f"{_SCHEME} {identity.subject} {','.join(sorted(identity.roles))}"


def _authenticate(header: str) -> Identity:
    scheme, _, rest = header.partition(" ")
    subject, _, roles = rest.partition(" ")
    if scheme != _SCHEME or not subject:
        raise errors.unauthenticated("TOKEN_INVALID", "not a test's authorization header")
    return Identity(subject, frozenset(filter(None, roles.split(","))))


def _opened(caller: str) -> Callable[[str, str, Any], Call]:
    def open_call(path: str, module: str, metadata: Any) -> Call:
        header = dict(metadata).get("authorization")
        origin = Origin.fresh(_authenticate(str(header))) if header else Origin.fresh()
        return Call(None, origin, path, module, caller, None, metadata)

    return open_call


def _signed_in(channel: grpc.Channel, identity: Identity) -> grpc.Channel:
    return grpc.intercept_channel(channel, _SignIn(authorization(identity)))


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _SignIn(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends the header that signs in with every call."""

    def __init__(self, pair: tuple[str, str]) -> None:
        self._pair = pair

    def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        signed = _Details(
            details.method,
            details.timeout,
            (*(details.metadata or ()), self._pair),
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
        return continuation(signed, request)

    intercept_unary_unary: Any = _call
    intercept_unary_stream: Any = _call
    intercept_stream_unary: Any = _call
    intercept_stream_stream: Any = _call
