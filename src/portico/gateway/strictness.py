"""Where ``json_format`` is more lenient than the mapping it implements: the plain codec refuses that.

The fast codec's library is strict by itself; the two must not differ in what they accept.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from portico.gateway.kinds import is_special, is_wrapper

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor

    from portico.gateway.document import JsonValue

_FLOATS = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}
_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}
_LARGEST_FLOAT = 3.4028234663852886e38


def is_strict(value: JsonValue, message: Descriptor) -> bool:
    """Whether every scalar of a document that fits its shape is written as the mapping says."""
    if not isinstance(value, dict):
        return True
    names = {each.json_name: each for each in message.fields} | dict(message.fields_by_name)
    return all(_field(names[key], item) for key, item in value.items() if item is not None)


def _field(field: FieldDescriptor, item: JsonValue) -> bool:
    if not field.is_repeated:
        return _single(field, item)
    if isinstance(item, dict):  # a map
        entry = field.message_type
        held = field if entry is None else entry.fields_by_name["value"]
        return all(_single(held, each) for each in item.values())
    return isinstance(item, list) and all(_single(field, each) for each in item)


def _single(field: FieldDescriptor, item: JsonValue) -> bool:
    message = field.message_type
    if message is not None:
        if is_wrapper(message):
            return _single(message.fields_by_name["value"], item)
        return is_special(message) or is_strict(item, message)
    if field.enum_type is not None:
        return _enum(item, field.enum_type)
    if field.type in _FLOATS:
        return _float(item, field.type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return isinstance(item, str) and _base64(item)
    return True


def _enum(item: JsonValue, enum: EnumDescriptor) -> bool:
    if type(item) is int:
        return -(2**31) <= item < 2**31
    # Not values_by_name: it trips over text that is not Unicode.
    return item in [value.name for value in enum.values]


def _float(item: JsonValue, kind: int) -> bool:
    if item in _NOT_FINITE:
        return True
    if isinstance(item, bool) or not isinstance(item, int | float | str):
        return False
    if isinstance(item, str) and (item.strip() != item or "_" in item):
        return False
    try:
        number = float(item)
    except (ValueError, OverflowError):
        return False
    if not math.isfinite(number):
        return False
    return kind == FieldDescriptor.TYPE_DOUBLE or abs(number) <= _LARGEST_FLOAT


def _base64(text: str) -> bool:
    padded = text + "=" * (-len(text) % 4)
    altchars = b"-_" if "-" in text or "_" in text else None
    if altchars and ("+" in text or "/" in text):
        return False
    try:
        base64.b64decode(padded, altchars=altchars, validate=True)
    except (ValueError, binascii.Error):
        return False
    return True
