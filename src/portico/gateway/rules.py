"""The routes of a contract, read from its descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.api import annotations_pb2

from portico.gateway.template import Template, TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.api.http_pb2 import HttpRule
    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

WHOLE = "*"
"""The ``body`` of a rule whose HTTP body is the whole request message."""


class RuleError(ValueError):
    """An rpc's ``google.api.http`` option does not fit its messages, or another rpc's."""


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP binding of one rpc.

    ``body`` names the request's field that is the HTTP body; ``*`` is the whole request, empty none.
    ``response_body`` names the response's field that is the HTTP answer; empty is the whole response.
    ``status`` is the HTTP status of success.
    """

    http_method: str
    template: Template
    body: str
    response_body: str
    method: MethodDescriptor
    status: int

    @property
    def path(self) -> str:
        """The rpc as gRPC names it: ``/commerce.orders.v1.OrdersService/GetOrder``."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


def read_routes(pool: DescriptorPool, services: Sequence[str]) -> Iterator[Route]:
    """Every binding of ``services``, named as ``commerce.orders.v1.OrdersService``.

    ``LookupError`` for a service the pool does not know, ``RuleError`` for a rule that does not fit.
    An rpc without the option has no route.
    """
    for name in services:
        try:
            service = pool.FindServiceByName(name)
        except KeyError:
            raise LookupError(f"no descriptor of service {name}") from None
        for method in service.methods:
            yield from _routes(method)


def _routes(method: MethodDescriptor) -> Iterator[Route]:
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return
    rule = options.Extensions[annotations_pb2.http]
    status = _status(method)
    for each in (rule, *rule.additional_bindings):
        try:
            yield _route(method, each, status)
        except (TemplateError, LookupError) as error:
            raise RuleError(f"{method.full_name}: {error}") from error


def _route(method: MethodDescriptor, rule: HttpRule, status: int) -> Route:
    kind = rule.WhichOneof("pattern")
    if kind is None:
        raise LookupError("google.api.http without a path")
    if kind == "custom":
        http_method, path = rule.custom.kind, rule.custom.path
    else:
        http_method, path = kind.upper(), getattr(rule, kind)
    template = Template.parse(path)
    for variable in template.variables:
        find_field(method.input_type, variable.field_path)
    if rule.body not in {"", WHOLE}:
        _top_level(method.input_type, rule.body)
    if rule.response_body:
        _top_level(method.output_type, rule.response_body)
    return Route(http_method, template, rule.body, rule.response_body, method, status)


def _top_level(message: Descriptor, name: str) -> None:
    if len(find_field(message, name)) > 1:
        raise LookupError(f"a body is a field of {message.full_name} itself, not {name!r}")


def _status(method: MethodDescriptor) -> int:
    from portico.v1 import options_pb2

    return method.GetOptions().Extensions[options_pb2.method].http_status or 200


def find_field(message: Descriptor, path: str) -> list[FieldDescriptor]:
    """The fields along ``path``, named as in the contract or as in JSON; ``LookupError`` if there is none."""
    found: list[FieldDescriptor] = []
    inside: Descriptor | None = message
    for name in path.split("."):
        field = None if inside is None else _field(inside, name)
        if field is None:
            raise LookupError(f"{message.full_name} has no field {path!r}")
        found.append(field)
        inside = field.message_type if not field.is_repeated else None
    return found


def _field(message: Descriptor, name: str) -> FieldDescriptor | None:
    field = message.fields_by_name.get(name)
    if field is None:
        field = next((each for each in message.fields if each.json_name == name), None)
    return field
