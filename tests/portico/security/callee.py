"""A service that tells who called it, served to other processes as a topology would."""

from __future__ import annotations

import json
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue
from portico.v1 import options_pb2

from portico.clock import Clock, SystemClock
from portico.context import current
from portico.rpc.hops import Hops
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.rpc.server import Server
from portico.security.passport import Passports

PACKAGE = "planted.hops.v1"
SERVICE = f"{PACKAGE}.PaymentsService"
OTHER = f"{PACKAGE}.OtherService"
SECRET = b"the secret of this topology"

_QUERY = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
_TEXT = ".google.protobuf.StringValue"


def _plant() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="planted/hops.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto", "portico/v1/options.proto"],
    )
    for service_name in ("PaymentsService", "OtherService"):
        service = file.service.add(name=service_name)
        for name, access, query in (
            ("Tell", options_pb2.INTERNAL, True),
            ("TellAnybody", options_pb2.PUBLIC, True),
            ("TellAdmins", options_pb2.ROLES, True),
            ("Charge", options_pb2.INTERNAL, False),
            ("Collect", options_pb2.INTERNAL, False),
            ("Follow", options_pb2.INTERNAL, True),
        ):
            method = service.method.add(name=name, input_type=_TEXT, output_type=_TEXT)
            method.client_streaming, method.server_streaming = name == "Collect", name == "Follow"
            if query:
                method.options.idempotency_level = _QUERY
            rules = method.options.Extensions[options_pb2.method]
            rules.access = access
            rules.roles.extend(["admin"] if access == options_pb2.ROLES else [])
    descriptor_pool.Default().Add(file)


_plant()


def _told(_request: Any, context: Any) -> StringValue:
    call: Any = current()
    step = call.step
    return StringValue(
        value=json.dumps(
            {
                "caller": call.caller,
                "subject": call.identity.subject,
                "roles": sorted(call.identity.roles),
                "step": step and [step.module, step.key, step.trying],
                "request_id": call.request_id,
                "trace_id": call.trace_id,
                "keys": [key for key, _ in context.invocation_metadata()],
            }
        )
    )


def _populate(registrar: Any, service: str) -> None:
    serializers: dict[str, Any] = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": StringValue.SerializeToString,
    }
    unary, follow = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    handlers = {
        name: unary(_told, **serializers)
        for name in ("Tell", "TellAnybody", "TellAdmins", "Charge")
    }
    handlers["Collect"] = grpc.stream_unary_rpc_method_handler(_told, **serializers)
    handlers["Follow"] = follow(lambda *sides: iter([_told(*sides)]), **serializers)
    registrar.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


class Callee(Server):
    """The process of module payments, which module orders may call and catalog may not."""

    def __init__(
        self,
        *,
        credentials: grpc.ServerCredentials | None = None,
        policy: Policy | None = None,
        clock: Clock | None = None,
        with_hops: bool = True,
    ) -> None:
        super().__init__(credentials=credentials)
        registry = Registry()
        for service in (SERVICE, OTHER):
            _populate(registry.registrar("payments"), service)
        hops = Hops(
            Passports(SECRET, clock=clock or SystemClock()),
            {SERVICE: frozenset({"orders"}), OTHER: frozenset({"catalog"})},
            require_certificate=credentials is not None,
        )
        self.bind()
        self.mount(registry, policy or Policy(), hops=hops if with_hops else None)
        self.start()


def tell(channel: Any, path: str, metadata: Any = None, *, future: bool = False) -> dict[str, Any]:
    """What the method at ``path`` answers over ``channel``."""
    name = path.rpartition("/")[2]
    kind = {"Collect": "stream_unary", "Follow": "unary_stream"}.get(name, "unary_unary")
    method = getattr(channel, kind)(path, StringValue.SerializeToString, StringValue.FromString)
    request: Any = iter([StringValue()]) if name == "Collect" else StringValue()
    if future:
        answer = method.future(request, metadata=metadata, timeout=20).result()
    else:
        answer = method(request, metadata=metadata, timeout=20)
    told: dict[str, Any] = json.loads((next(answer) if name == "Follow" else answer).value)
    return told
