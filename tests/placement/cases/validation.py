"""What a contract says of its fields, for every kind of call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from portico.testing import parity
from portico.testing.cases import Group
from tests.placement.greeting import (
    PATIENCE_SECONDS,
    UNCHECKED,
)

if TYPE_CHECKING:
    from portico.testing.cases import Script
    from portico.testing.transports import Stand

PACKAGE = "planted.placement.rules.v1"
KINDS = {
    "One": (False, False),
    "Answers": (False, True),
    "Asks": (True, False),
    "Both": (True, True),
}
Field = descriptor_pb2.FieldDescriptorProto


def _plant() -> Any:
    """A contract with an rpc of each kind, and rules on two fields of what they take."""
    file = descriptor_pb2.FileDescriptorProto(
        name="planted/placement/rules.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=["buf/validate/validate.proto"],
    )
    line = file.message_type.add(name="Line")
    for number, (name, kind, rules) in enumerate(
        (
            ("product_id", Field.TYPE_STRING, "string: {min_len: 2}"),
            ("quantity", Field.TYPE_INT32, "int32: {gte: 1, lte: 10}"),
        ),
        1,
    ):
        field = line.field.add(name=name, number=number, type=kind, label=Field.LABEL_OPTIONAL)
        found = text_format.Parse(rules, validate_pb2.FieldRules())
        field.options.Extensions[validate_pb2.field].CopyFrom(found)
    service = file.service.add(name="RulesService")
    for name, (asks, answers) in KINDS.items():
        service.method.add(
            name=name,
            input_type=f".{PACKAGE}.Line",
            output_type=f".{PACKAGE}.Line",
            client_streaming=asks,
            server_streaming=answers,
        )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Line"))


LINE: Any = _plant()
GOOD = LINE(product_id="prod_1", quantity=2)
BAD = LINE(product_id="p", quantity=11)


def _populate_rules(registrar: Any) -> None:
    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(lambda line, _: line, *_SERIALIZERS),
        "Answers": grpc.unary_stream_rpc_method_handler(
            lambda line, _: iter([line, line]), *_SERIALIZERS
        ),
        "Asks": grpc.stream_unary_rpc_method_handler(
            lambda lines, _: LINE(quantity=sum(each.quantity for each in lines)), *_SERIALIZERS
        ),
        "Both": grpc.stream_stream_rpc_method_handler(lambda lines, _: lines, *_SERIALIZERS),
    }
    registrar.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(f"{PACKAGE}.RulesService", handlers),)
    )


_SERIALIZERS = LINE.FromString, LINE.SerializeToString


def _method(stand: Stand, kind: str, name: str) -> Any:
    return getattr(stand.channel, kind)(
        f"/{PACKAGE}.RulesService/{name}", LINE.SerializeToString, LINE.FromString
    )


def _each_kind(*lines: Any) -> Script:
    def script(stand: Stand) -> Any:
        own = {"timeout": PATIENCE_SECONDS}
        one, answers = (
            _method(stand, "unary_unary", "One"),
            _method(stand, "unary_stream", "Answers"),
        )
        asks, both = _method(stand, "stream_unary", "Asks"), _method(stand, "stream_stream", "Both")
        heard: list[str] = []
        return {
            "one": parity.told(lambda: str(one(lines[-1], **own))),
            "future": parity.told(lambda: str(one.future(lines[-1], **own).result())),
            "answers": parity.told(lambda: [str(each) for each in answers(lines[-1], **own)]),
            "asks": parity.told(lambda: str(asks(iter(lines), **own))),
            "both": parity.told(lambda: heard.extend(map(str, both(iter(lines), **own)))),
            "heard": heard,
        }

    return script


validation = Group(name="validation", populate=_populate_rules, stay=True, without=UNCHECKED)
GROUPS = [validation]

validation.add(
    "of what is good",
    _each_kind(GOOD, GOOD),
    expects={"one.value": str(GOOD), "heard[1]": str(GOOD)},
)
validation.add(
    "of what is not, field by field",
    _each_kind(BAD),
    expects={
        "one.code": "INVALID_ARGUMENT",
        "future.violations[1]": (
            "quantity",
            "must be greater than or equal to 1 and less than or equal to 10",
            "int32.gte_lte",
        ),
        "asks.code": "INVALID_ARGUMENT",
        "both.code": "INVALID_ARGUMENT",
    },
)
validation.add(
    "of a second message of a stream",
    _each_kind(GOOD, BAD),
    expects={"asks.code": "INVALID_ARGUMENT"},
)
validation.add("of an empty message", _each_kind(LINE()), expects={"one.code": "INVALID_ARGUMENT"})
