"""The kinds of fields, as a REST client meets them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, cast

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from portico.gateway.document import JsonValue

_INT32 = -(2**31), 2**31 - 1
_INT64 = -(2**63), 2**63 - 1
_UINT32 = 0, 2**32 - 1
_UINT64 = 0, 2**64 - 1

_RANGES = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
}

_SCALARS = {
    FieldDescriptor.TYPE_BOOL: "must be true or false",
    FieldDescriptor.TYPE_BYTES: "must be base64 text",
    FieldDescriptor.TYPE_STRING: "must be Unicode text",
}

_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)

_SPECIAL = {
    "google.protobuf.Any": 'must be an object whose "@type" is known',
    "google.protobuf.Duration": 'must be seconds, such as "1.5s"',
    "google.protobuf.FieldMask": 'must be field names separated by commas, such as "displayName,email"',
    "google.protobuf.ListValue": "must be a list",
    "google.protobuf.Struct": "must be an object",
    "google.protobuf.Timestamp": 'must be a time as in RFC 3339, such as "2026-05-29T13:07:00Z"',
    "google.protobuf.Value": "must be JSON",
}

_NEUTRAL: dict[str, JsonValue] = {
    "google.protobuf.Duration": "0s",
    "google.protobuf.FieldMask": "",
    "google.protobuf.ListValue": [],
    "google.protobuf.Timestamp": "1970-01-01T00:00:00Z",
    "google.protobuf.BoolValue": False,
    "google.protobuf.BytesValue": "",
    "google.protobuf.StringValue": "",
    **{
        f"google.protobuf.{each}Value": 0
        for each in ("Double", "Float", "Int32", "Int64", "UInt32", "UInt64")
    },
}

_MOST_NAMES = 20

_NOT_NUMBERS = {
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_GROUP,
    FieldDescriptor.TYPE_MESSAGE,
    FieldDescriptor.TYPE_STRING,
}


def is_number(field: FieldDescriptor) -> bool:
    """Whether the field is a number, or a wrapper of one."""
    if field.message_type is not None and is_wrapper(field.message_type):
        return is_number(field.message_type.fields_by_name["value"])
    return field.type not in _NOT_NUMBERS


def neutral(field: FieldDescriptor) -> JsonValue:
    """A value that the field always takes."""
    if field.message_type is not None:
        return _NEUTRAL.get(field.message_type.full_name, {})
    if field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
        return ""
    return False if field.type == FieldDescriptor.TYPE_BOOL else 0


def descriptor_of(message: Message | type[Message]) -> Descriptor:
    """The descriptor of a message or of its class; typeshed has a second, private type for it."""
    return cast("Descriptor", message.DESCRIPTOR)


def is_special(message: Descriptor) -> bool:
    """Whether the message has a JSON form of its own."""
    return message.full_name in _SPECIAL or message.full_name in _WRAPPERS


def is_wrapper(message: Descriptor) -> bool:
    """Whether the message holds one scalar and is written as that scalar."""
    return message.full_name in _WRAPPERS


def expectation(field: FieldDescriptor, value: JsonValue) -> str:
    """What ``value`` would have to be for the field: "must be …"."""
    if field.enum_type is not None:
        names = [value.name for value in field.enum_type.values]
        more = ", …" if len(names) > _MOST_NAMES else ""
        return f"must be one of {', '.join(names[:_MOST_NAMES])}{more}"
    if field.message_type is None:
        return _SCALARS.get(field.type) or _number_expected(field, _number(value))
    if is_wrapper(field.message_type):
        return expectation(field.message_type.fields_by_name["value"], value)
    return _SPECIAL.get(field.message_type.full_name, "must be an object")


def _number_expected(field: FieldDescriptor, given: Decimal | None) -> str:
    """Limits are told only to who gave a number beyond them."""
    if field.type in _RANGES:
        least, most = _RANGES[field.type]
        beyond = given is not None and not least <= given <= most
        return "must be a whole number" + (f" from {least} to {most}" if beyond else "")
    if field.type == FieldDescriptor.TYPE_FLOAT and given is not None:
        return "must be a number that fits 32 bits"
    return "must be a number"


def _number(value: JsonValue) -> Decimal | None:
    """The number that ``value`` is, or is in text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(value)
    except ArithmeticError:  # text that is no number
        return None
    return None if number.is_nan() else number
