"""What a contract says about each of its rpcs, read once from its descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, cast

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import MethodOptions

from portico.v1 import options_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor, MethodDescriptor
    from google.protobuf.message import Message

    from portico.rpc.interfaces import Handler

_LONGEST_AWAIT_MS = 5000


class Access(Enum):
    """Who may call an rpc."""

    PUBLIC = "public"
    SIGNED_IN = "signed in"
    ROLES = "roles"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Method:
    """The facts of one rpc.

    ``path`` is gRPC's (``/commerce.orders.v1.OrdersService/GetOrder``). The message classes are
    None for a method without descriptors, whose handler brings its own serializers. ``access`` is
    None where the contract leaves it to the application. ``await_reactions_seconds`` is how long an
    answer to the world outside waits for the reactions to what the call published. Where ``validated`` is
    False the contract's rules for requests are not looked at.
    """

    path: str
    package: str
    request_class: type[Message] | None
    response_class: type[Message] | None
    client_streaming: bool
    server_streaming: bool
    query: bool = False
    access: Access | None = None
    roles: frozenset[str] = frozenset()
    await_reactions_seconds: float = 0.0
    validated: bool = True

    @property
    def unary(self) -> bool:
        """Whether one message goes each way."""
        return not (self.client_streaming or self.server_streaming)


def descriptor_of(message_class: type[Message]) -> Descriptor:
    """The descriptor of a generated class, whichever of protobuf's implementations made it."""
    return cast("Descriptor", message_class.DESCRIPTOR)


def describe(path: str, handler: Handler) -> Method:
    """The facts of the rpc at ``path``: from its descriptor, else from what the handler says."""
    found = descriptor_at(path)
    if found is None:
        streams = handler.request_streaming, handler.response_streaming
        return Method(path, _package(path), None, None, *streams)
    options = found.GetOptions()
    rules = _rules(options)
    return Method(
        path=path,
        package=found.containing_service.file.package,
        request_class=message_factory.GetMessageClass(found.input_type),
        response_class=message_factory.GetMessageClass(found.output_type),
        client_streaming=found.client_streaming,
        server_streaming=found.server_streaming,
        query=_is_query(options),
        access=Access.__members__.get(options_pb2.Access.Name(rules.access)),
        roles=frozenset(rules.roles),
        await_reactions_seconds=min(rules.await_reactions_ms, _LONGEST_AWAIT_MS) / 1000,
    )


def is_query(path: str) -> bool:
    """Whether the contract says that the rpc at ``path`` changes nothing."""
    found = descriptor_at(path)
    return found is not None and _is_query(found.GetOptions())


def is_kernels(path: str) -> bool:
    """Whether the rpc at ``path`` is one of the kernel's own, to which the rules between modules do not apply."""
    return path.lstrip("/").startswith("portico.")


def _is_query(options: MethodOptions) -> bool:
    return options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS


def described(services: Iterable[str]) -> tuple[str, ...]:
    """Those of ``services`` whose contract is known here; a generic handler's is not."""
    return tuple(filter(_is_described, services))


def _is_described(service: str) -> bool:
    try:
        descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        return False
    return True


def descriptor_at(path: str) -> MethodDescriptor | None:
    """The descriptor of the rpc at ``path``; None where its contract is not known here."""
    try:
        return descriptor_pool.Default().FindMethodByName(path.strip("/").replace("/", "."))
    except KeyError:
        return None


def _package(path: str) -> str:
    return path.strip("/").partition("/")[0].rpartition(".")[0]


def _rules(options: MethodOptions) -> options_pb2.MethodRules:
    """What the contract says in our own option; all of it empty where it says nothing."""
    return options.Extensions[options_pb2.method]
