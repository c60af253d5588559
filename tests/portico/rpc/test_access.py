"""Who may call what: each rule admits and refuses, near and far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.empty_pb2 import Empty
from portico.v1 import options_pb2

from portico import errors
from portico.context import Identity, StepMark, entered, root
from portico.errors import StatusError
from portico.rpc.contract import Access
from portico.rpc.local import LocalChannel
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.testing import parity

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "planted.access.v1"
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
        name="planted/access.proto",
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


def calling(name: str, user: str | None) -> Callable[[Any], Any]:
    def script(channel: Any) -> Any:
        method = channel.unary_unary(
            f"/{SERVICE}/{name}", Empty.SerializeToString, Empty.FromString
        )
        metadata = () if user is None else (("authorization", user),)
        return parity.told(lambda: str(method(Empty(), metadata=metadata, timeout=20)))

    return script


ADMITTED = {"value": ""}
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


@pytest.mark.parametrize(("name", "user"), ADMITS)
def test_a_rule_admits_whom_it_names(agree: Any, name: str, user: str | None) -> None:
    policy = Policy(authenticate=_authenticate)

    assert agree(populate, calling(name, user), over=parity.KERNEL, policy=policy) == ADMITTED


@pytest.mark.parametrize(("name", "user", "code", "reason"), REFUSES)
def test_a_rule_refuses_everybody_else(
    agree: Any, name: str, user: str | None, code: str, reason: str
) -> None:
    policy = Policy(authenticate=_authenticate)

    outcome = agree(populate, calling(name, user), over=parity.KERNEL, policy=policy)

    assert (outcome["code"], outcome["reason"]) == (code, reason)
    assert outcome["domain"] == PACKAGE
    assert "private" not in repr(outcome)


@pytest.mark.parametrize(
    ("default", "user", "code"),
    [
        (Access.SIGNED_IN, None, "UNAUTHENTICATED"),
        (Access.SIGNED_IN, "ann", None),
        (Access.INTERNAL, "ann", "PERMISSION_DENIED"),
        (Access.PUBLIC, None, None),
    ],
)
def test_the_application_decides_where_the_contract_says_nothing(
    agree: Any, default: Access, user: str | None, code: str | None
) -> None:
    policy = Policy(authenticate=_authenticate, default_access=default)

    outcome = agree(populate, calling("Unsaid", user), over=parity.KERNEL, policy=policy)

    assert outcome.get("code") == code


def test_nobody_is_signed_in_where_nobody_can_verify_a_token(agree: Any) -> None:
    outcome = agree(populate, calling("SignedIn", "ann"), over=parity.KERNEL)

    assert outcome["code"] == "UNAUTHENTICATED"


class TestModules:
    @pytest.fixture
    def registry(self) -> Registry:
        registry = Registry()
        populate(registry.registrar("callee"))
        return registry

    def _call(self, registry: Registry, name: str, *, caller: str, **policy: Any) -> None:
        channel = LocalChannel(registry, caller=caller, policy=Policy(**policy))
        channel.unary_unary(f"/{SERVICE}/{name}", Empty.SerializeToString, Empty.FromString)(
            Empty()
        )

    def test_may_call_what_is_internal(self, registry: Registry) -> None:
        self._call(registry, "Internal", caller="caller")

    def test_act_for_the_user_of_the_call_they_are_in(self, registry: Registry) -> None:
        with entered(root(identity=Identity("ann"))):
            self._call(registry, "SignedIn", caller="caller")

        with entered(root()), pytest.raises(StatusError):
            self._call(registry, "SignedIn", caller="caller")

    def test_may_call_anothers_query_at_any_time(self, registry: Registry) -> None:
        self._call(registry, "Query", caller="caller", commands_need_workflow=True)

    def test_may_not_call_anothers_command_outside_a_workflow(self, registry: Registry) -> None:
        with pytest.raises(StatusError) as caught:
            self._call(registry, "Command", caller="caller", commands_need_workflow=True)

        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert caught.value.reason == "COMMAND_OUTSIDE_WORKFLOW"
        assert "module caller called the command" in caught.value.message

    def test_may_call_anothers_command_in_a_step_of_their_own(self, registry: Registry) -> None:
        call = root(module="caller")
        call.step = StepMark("caller", "key/step")

        with entered(call):
            self._call(registry, "Command", caller="caller", commands_need_workflow=True)

    def test_may_not_call_anothers_command_in_a_step_of_somebody_elses(
        self, registry: Registry
    ) -> None:
        call = root(module="caller")
        call.step = StepMark("other", "key/step")

        with entered(call), pytest.raises(StatusError):
            self._call(registry, "Command", caller="caller", commands_need_workflow=True)

    def test_may_call_commands_of_their_own_and_the_world_outside_may_too(
        self, registry: Registry
    ) -> None:
        self._call(registry, "Command", caller="callee", commands_need_workflow=True)
        self._call(registry, "Command", caller="", commands_need_workflow=True)

    def test_have_no_rule_without_workflows(self, registry: Registry) -> None:
        self._call(registry, "Command", caller="caller")

    def test_may_not_call_a_command_from_a_step_in_another_thread(self, registry: Registry) -> None:
        channel = LocalChannel(
            registry, caller="caller", policy=Policy(commands_need_workflow=True)
        )
        command = channel.unary_unary(
            f"/{SERVICE}/Command", Empty.SerializeToString, Empty.FromString
        )
        call = root(module="caller")
        call.step = StepMark("caller", "key/step")

        with entered(call), pytest.raises(StatusError) as caught:
            command.future(Empty()).result()

        assert caught.value.reason == "COMMAND_OUTSIDE_WORKFLOW"


def test_a_call_inside_another_may_name_a_user_of_its_own(agree: Any) -> None:
    policy = Policy(authenticate=_authenticate)
    script = calling("Roles", "ann admin")

    def inside(channel: Any) -> Any:
        with entered(root(identity=Identity("bob"))):
            return script(channel)

    outcome = agree(populate, inside, over=("raw", "remote", "local", "shared"), policy=policy)

    assert outcome == ADMITTED
