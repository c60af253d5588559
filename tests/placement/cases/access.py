"""Who may call what: each rule of a contract admits and refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.empty_pb2 import Empty
from portico.v1 import options_pb2

from portico import errors
from portico.context import Identity, StepMark, entered, root
from portico.rpc.contract import Access
from portico.rpc.policy import Policy
from portico.testing import parity
from portico.testing.cases import Group
from portico.testing.transports import MODULE, NEIGHBOUR
from tests.placement.greeting import NOT_OF_A_MODULE, OWN_RULES, PATIENCE_SECONDS

if TYPE_CHECKING:
    from portico.testing.cases import Script
    from portico.testing.transports import Stand

PACKAGE = "planted.placement.access.v1"
SERVICE = f"{PACKAGE}.AccessService"
RULES = {
    "Unsaid": None,
    "Public": options_pb2.PUBLIC,
    "SignedIn": options_pb2.SIGNED_IN,
    "Roles": options_pb2.ROLES,
    "Internal": options_pb2.INTERNAL,
}
QUERY = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS


def _plant() -> None:
    """A contract with an rpc for each rule, and a query and a command that modules call."""
    file = descriptor_pb2.FileDescriptorProto(
        name="planted/placement/access.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=["google/protobuf/empty.proto", "portico/v1/options.proto"],
    )
    service = file.service.add(name="AccessService")
    for name, access in [*RULES.items(), ("Query", None), ("Command", None)]:
        method = service.method.add(
            name=name, input_type=".google.protobuf.Empty", output_type=".google.protobuf.Empty"
        )
        if name != "Command":
            method.options.idempotency_level = QUERY
        if access is not None:
            rules = method.options.Extensions[options_pb2.method]
            rules.access = access
            rules.roles.extend(["admin", "auditor"] if access == options_pb2.ROLES else [])
    descriptor_pool.Default().Add(file)


_plant()


def _authenticate(header: str) -> Identity:
    subject, _, roles = header.partition(" ")
    if subject == "nobody":
        raise errors.unauthenticated("TOKEN_INVALID", "no such token")
    if subject == "broken":
        raise KeyError("private")
    return Identity(subject, frozenset(roles.split()))


def populate(registrar: Any) -> None:
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            lambda *_: Empty(),
            request_deserializer=Empty.FromString,
            response_serializer=Empty.SerializeToString,
        )
        for name in (*RULES, "Query", "Command")
    }
    registrar.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _called(stand: Stand, name: str, user: str | None, *, caller: str = "") -> Any:
    method: Any = stand.channel_of(caller).unary_unary(
        f"/{SERVICE}/{name}", Empty.SerializeToString, Empty.FromString
    )
    metadata = () if user is None else (("authorization", user),)
    return parity.told(lambda: str(method(Empty(), metadata=metadata, timeout=PATIENCE_SECONDS)))


def _calling(name: str, user: str | None, *, caller: str = "") -> Script:
    return lambda stand: _called(stand, name, user, caller=caller)


def _in_a_call(name: str, *, user: str = "", step: StepMark | None = None) -> Script:
    """A neighbour's call, made inside one that is for ``user``."""

    def script(stand: Stand) -> Any:
        call = root(module=NEIGHBOUR, identity=Identity(user))
        call.step = step
        with entered(call):
            return _called(stand, name, None, caller=NEIGHBOUR)

    return script


WITHOUT = OWN_RULES | {"servicer": "nothing asks for rights when a function is called"}
OF_MODULES = WITHOUT | NOT_OF_A_MODULE
KNOWN = Policy(authenticate=_authenticate)


def _group(name: str, policy: Policy, without: dict[str, str]) -> Group:
    return Group(name=name, populate=populate, policy=policy, stay=True, without=without)


access = _group("authorisation", KNOWN, WITHOUT)
by_default = [
    _group(f"authorisation, {default.value} by default", policy, WITHOUT)
    for default in (Access.SIGNED_IN, Access.INTERNAL)
    for policy in [Policy(authenticate=_authenticate, default_access=default)]
]
unknown = _group("authorisation of nobody", Policy(), WITHOUT)
modules = _group("what modules may call", KNOWN, OF_MODULES)
strict = _group("commands of others", Policy(commands_need_workflow=True), OF_MODULES)
GROUPS = [access, *by_default, unknown, modules, strict]

ADMITS = [
    ("Unsaid", None),
    ("Unsaid", "ann"),
    ("Public", None),
    ("Public", "ann"),
    ("Public", "nobody"),  # whoever refreshes a token sends a stale one
    ("SignedIn", "ann"),
    ("SignedIn", "ann admin"),
    ("Roles", "ann admin"),
    ("Roles", "ann other auditor"),
]
REFUSES = [
    ("SignedIn", None, "UNAUTHENTICATED", "SIGN_IN_REQUIRED"),
    ("SignedIn", "nobody", "UNAUTHENTICATED", "TOKEN_INVALID"),
    ("SignedIn", "broken", "INTERNAL", "INTERNAL"),
    ("Roles", None, "UNAUTHENTICATED", "SIGN_IN_REQUIRED"),
    ("Roles", "ann", "PERMISSION_DENIED", "ROLE_REQUIRED"),
    ("Roles", "ann administrator", "PERMISSION_DENIED", "ROLE_REQUIRED"),
    ("Internal", None, "PERMISSION_DENIED", "INTERNAL_METHOD"),
    ("Internal", "ann admin", "PERMISSION_DENIED", "INTERNAL_METHOD"),
]
for name, user in ADMITS:
    access.add(f"{name} admits {user}", _calling(name, user), expects={"value": ""})
for name, user, code, reason in REFUSES:
    access.add(
        f"{name} refuses {user}",
        _calling(name, user),
        expects={"code": code, "reason": reason, "domain": PACKAGE},
    )

for group, whose, wanted in (
    (by_default[0], None, "UNAUTHENTICATED"),
    (by_default[0], "ann", None),
    (by_default[1], "ann", "PERMISSION_DENIED"),
):
    group.add(
        f"what the contract leaves open, called by {whose}",
        _calling("Unsaid", whose),
        expects={"code": wanted} if wanted else {"value": ""},
    )
unknown.add(
    "where nobody can verify a token",
    _calling("SignedIn", "ann"),
    expects={"code": "UNAUTHENTICATED"},
)

modules.add("what is internal", _calling("Internal", None, caller=NEIGHBOUR), expects={"value": ""})
modules.add("a command", _calling("Command", None, caller=NEIGHBOUR), expects={"value": ""})
modules.add(
    "what is for users, for the user of the call they are in",
    _in_a_call("SignedIn", user="ann"),
    expects={"value": ""},
)
modules.add(
    "nothing for users, for nobody",
    _in_a_call("SignedIn"),
    expects={"code": "UNAUTHENTICATED", "reason": "SIGN_IN_REQUIRED"},
)
modules.add(
    "for another user whose token they have",
    _calling("SignedIn", "bob", caller=NEIGHBOUR),
    expects={"value": ""},
)

strict.add("a query, at any time", _calling("Query", None, caller=NEIGHBOUR), expects={"value": ""})
strict.add(
    "no command, outside a workflow",
    _calling("Command", None, caller=NEIGHBOUR),
    expects={"code": "INTERNAL", "reason": "COMMAND_OUTSIDE_WORKFLOW", "domain": PACKAGE},
)
strict.add(
    "no command, in a call that is no step",
    _in_a_call("Command"),
    expects={"reason": "COMMAND_OUTSIDE_WORKFLOW"},
)
strict.add(
    "a command, in a step of their own",
    _in_a_call("Command", step=StepMark(NEIGHBOUR, "key/step")),
    expects={"value": ""},
)
strict.add(
    "no command, in a step of another",
    _in_a_call("Command", step=StepMark("another", "key/step")),
    expects={"reason": "COMMAND_OUTSIDE_WORKFLOW"},
)
strict.add("any command of the world outside", _calling("Command", None), expects={"value": ""})
strict.add(
    "a command of their own, outside a workflow",
    _calling("Command", None, caller=MODULE),
    expects={"value": ""},
    without=dict.fromkeys(
        ("unix", "tcp", "mtls"), "a module is in the process of its own servicers"
    ),
)


@strict.case(expects={"reason": "COMMAND_OUTSIDE_WORKFLOW"})
def no_command_from_a_step_in_another_thread(stand: Stand) -> Any:
    command: Any = stand.channel_of(NEIGHBOUR).unary_unary(
        f"/{SERVICE}/Command", Empty.SerializeToString, Empty.FromString
    )
    call = root(module=NEIGHBOUR)
    call.step = StepMark(NEIGHBOUR, "key/step")
    with entered(call):
        return parity.told(lambda: str(command.future(Empty(), timeout=5).result()))


@access.case(expects={"value": ""})
def of_a_call_inside_another_may_be_for_a_user_of_its_own(stand: Stand) -> Any:
    with entered(root(identity=Identity("bob"))):
        return _called(stand, "Roles", "ann admin")
