"""What a message looks like in JSON: which names it has and what may stand under each.

``Shape.fits`` is asked of every request and looks at structure only: at what the JSON libraries leave
undone or do differently (unknown and doubled fields, two members of a oneof, wrong containers).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from portico.gateway.kinds import is_number, is_special

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from portico.gateway.document import JsonValue

    Check = Callable[[JsonValue], bool]

SINGLE, LIST, MAP = "single", "list", "map"
DEEPEST = 100
"""Levels of free-form JSON, and of messages, as in every protobuf library."""

_FIELD_MASK = "google.protobuf.FieldMask"
_PATH = r"[a-z][A-Za-z0-9]*(?:\.[a-z][A-Za-z0-9]*)*"
_MASK = re.compile(rf"{_PATH}(?:,{_PATH})*")
_FREE_FORM = frozenset(
    {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"}
)


class Field(NamedTuple):
    """One field: its names, and what it holds.

    ``inner`` is set when that is a message of a known shape, ``key`` for a map. ``check`` is what one
    value that is not null must stand, ``fits`` what the container of them must; None: any will do.
    """

    json_name: str
    proto_name: str
    container: str
    oneof: str
    inner: Shape | None
    descriptor: FieldDescriptor
    key: FieldDescriptor | None
    free_form: bool
    check: Check | None
    fits: Check | None


class Shapes:
    """The shapes of messages, each made once."""

    def __init__(self) -> None:
        self._made: dict[str, Shape] = {}

    def of(self, message: Descriptor) -> Shape:
        """The shape of ``message``."""
        made = self._made.get(message.full_name)
        if made is None:
            made = self._made[message.full_name] = Shape(message)
            for field in message.fields:
                made.add(self._field(field))
        return made

    def _field(self, field: FieldDescriptor) -> Field:
        container, held, key = SINGLE, field, None
        if field.is_repeated:
            container = LIST
            entry = field.message_type
            if entry is not None and entry.GetOptions().map_entry:
                container = MAP
                key, held = entry.fields_by_name["key"], entry.fields_by_name["value"]
        message = held.message_type
        inner = self.of(message) if message is not None and not is_special(message) else None
        check = inner.fits if inner is not None else _check_of(held)
        oneof = field.containing_oneof
        return Field(
            json_name=field.json_name,
            proto_name=field.name,
            container=container,
            oneof=oneof.name if oneof is not None and len(oneof.fields) > 1 else "",
            inner=inner,
            descriptor=held,
            key=key,
            free_form=_is_free_form(held),
            check=check,
            fits=_in_container(container, check),
        )


class Shape:
    """The JSON shape of one message type."""

    def __init__(self, message: Descriptor) -> None:
        self.message = message
        self._fields: dict[str, Field] = {}

    def add(self, field: Field) -> None:
        """Make the field known under both its names."""
        self._fields[field.json_name] = self._fields[field.proto_name] = field

    def field(self, name: str) -> Field | None:
        """The field called ``name`` in JSON or in the contract."""
        return self._fields.get(name)

    def fits(self, value: JsonValue) -> bool:
        """Whether ``value`` has this structure. Scalars are left to the codec."""
        if type(value) is not dict:
            return False
        chosen: tuple[str, ...] = ()
        for key, item in value.items():
            field = self._fields.get(key)
            if field is None or (key != field.json_name and field.json_name in value):
                return False
            if item is None:
                continue
            if field.oneof:
                if field.oneof in chosen:
                    return False
                chosen = (*chosen, field.oneof)
            if field.fits is not None and not field.fits(item):
                return False
        return True


def is_finite(value: JsonValue, depth: int = 0) -> bool:
    """Whether free-form JSON can be written down again: no infinite number, not too deep."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | dict):
        held = value if isinstance(value, list) else value.values()
        return depth < DEEPEST and all(is_finite(each, depth + 1) for each in held)
    return True


def _is_free_form(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name in _FREE_FORM


def _check_of(field: FieldDescriptor) -> Check | None:
    """What the codecs' libraries let through and we do not."""
    if is_number(field):
        return _is_plain_number
    if field.message_type is not None and field.message_type.full_name == _FIELD_MASK:
        return _is_mask
    return is_finite if _is_free_form(field) else None


def _is_plain_number(value: JsonValue) -> bool:
    """Whether a number in text has no digit that only Python takes for one: ``1_000``, other scripts."""
    return type(value) is not str or (value.isascii() and "_" not in value)


def _is_mask(value: JsonValue) -> bool:
    return type(value) is str and (not value or _MASK.fullmatch(value) is not None)


def _in_container(container: str, check: Check | None) -> Check | None:
    if container is SINGLE:
        return check
    return _list_of(check) if container is LIST else _map_of(check)


def _list_of(check: Check | None) -> Check:
    def fits(value: JsonValue) -> bool:
        return type(value) is list and (check is None or all(map(check, value)))

    return fits


def _map_of(check: Check | None) -> Check:
    def fits(value: JsonValue) -> bool:
        return type(value) is dict and (check is None or all(map(check, value.values())))

    return fits
