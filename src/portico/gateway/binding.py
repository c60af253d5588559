"""From an HTTP request to the rpc's request message.

Path variables and query parameters are put into the JSON document of the body, in the places of the
fields they name, and the codec reads the whole at once. So a field means the same wherever it
comes from, and whatever is wrong with it is told in the same words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from portico.errors import Violation
from portico.gateway import document
from portico.gateway.codec import MessageError
from portico.gateway.document import printable
from portico.gateway.kinds import descriptor_of, is_special, is_wrapper
from portico.gateway.rules import WHOLE, find_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from portico.gateway.codec import Codec
    from portico.gateway.document import JsonValue
    from portico.gateway.exchange import Request
    from portico.gateway.rules import Route

    FromText = Callable[[str], JsonValue]

_HTTP_BODY = HttpBody.DESCRIPTOR.full_name
_NOT_FROM_TEXT = frozenset(
    {"google.protobuf.Any", "google.protobuf.ListValue", "google.protobuf.Struct"}
)


class Binding:
    """How one route's requests become messages."""

    def __init__(self, route: Route, codec: Codec, *, most_parameters: int) -> None:
        """Raise ``LookupError`` for a variable that no text can fill."""
        message = route.method.input_type
        self._codec = codec
        self._class = GetMessageClass(message)
        self._most_parameters = most_parameters
        self._targets: dict[str, _Target] = {}
        self._variables = [
            (variable, _Target(find_field(message, variable.field_path)))
            for variable in route.template.variables
        ]
        self._body = _Body(route)

    @property
    def takes_json(self) -> bool:
        """Whether the HTTP body is JSON."""
        return self._body.is_json

    def message(self, request: Request, segments: list[str]) -> Message:
        """The request message; ``MessageError`` or ``DocumentError`` when there is none."""
        value = self._body.document(request.body)
        for variable, target in self._variables:
            try:
                text = variable.value(segments)
            except UnicodeDecodeError:
                raise _bad(target.path, "is not UTF-8 in the path") from None
            self._put(value, target, text, "the path")
        if request.query:
            self._add_query(value, request.query)
        message = self._codec.from_value(value, self._class)
        if self._body.is_raw:
            self._body.attach(message, request)
        return message

    def _add_query(self, value: JsonValue, query: str) -> None:
        seen: set[str] = set()
        for name, text in _parameters(query, self._most_parameters):
            target = self._target(name)
            if target is None:
                raise _bad(printable(name), "is not a parameter of this request")
            if target.path in seen and not target.repeated:
                raise _bad(target.path, "is given twice")
            seen.add(target.path)
            self._put(value, target, text, "the query")

    def _target(self, name: str) -> _Target | None:
        """Where a parameter goes. Only what the contract has is remembered: a bounded lot."""
        target = self._targets.get(name)
        if target is None:
            try:
                target = _Target(find_field(descriptor_of(self._class), name))
            except LookupError:
                return None
            if len(self._targets) < _MOST_REMEMBERED:  # messages may nest themselves
                self._targets[name] = target
        return target

    def _put(self, value: JsonValue, target: _Target, text: str, place: str) -> None:
        """Set the target's field in ``value``; what is there already must say the same."""
        inside = value
        for json_name, proto_name in target.above:
            if not isinstance(inside, dict):
                return  # the codec says where an object is missing
            name = proto_name if proto_name in inside else json_name
            if inside.get(name) is None:
                inside[name] = {}
            inside = inside[name]
        if not isinstance(inside, dict):
            return
        json_name, proto_name = target.name
        name = proto_name if proto_name in inside else json_name
        item = target.from_text(text)
        there = inside.get(name)
        if target.repeated:
            held = there if isinstance(there, list) else []
            inside[name] = [*held, item]
        elif there is None:
            inside[name] = item
        elif there != item and str(there) != text:
            raise _bad(target.path, f"differs from the one in {place}")


class _Body:
    """Where the HTTP body goes: nowhere, the whole message, one field; as JSON or as it is."""

    def __init__(self, route: Route) -> None:
        holder: Descriptor | None = route.method.input_type
        self._field: FieldDescriptor | None = None
        if route.body not in {"", WHOLE}:
            self._field = find_field(route.method.input_type, route.body)[0]
            holder = None if self._field.is_repeated else self._field.message_type
        bound = bool(route.body)
        self.is_raw = bound and holder is not None and holder.full_name == _HTTP_BODY
        self.is_json = bound and not self.is_raw
        self._holds_object = holder is not None and not is_special(holder)

    def document(self, body: bytes) -> JsonValue:
        """The request as JSON, as far as the body tells it. No body is an empty object."""
        if not self.is_json:
            return {}
        if self._field is None:
            return document.read(body) if body else {}
        if body:
            return {self._field.json_name: document.read(body)}
        return {self._field.json_name: {}} if self._holds_object else {}

    def attach(self, message: Message, request: Request) -> None:
        """Put the raw body into the message's ``google.api.HttpBody``."""
        holder: Any = message if self._field is None else getattr(message, self._field.name)
        holder.content_type = request.header("content-type") or ""
        holder.data = request.body


class _Target:
    """The field that a path variable or a query parameter fills."""

    def __init__(self, fields: list[FieldDescriptor]) -> None:
        names = [(field.json_name, field.name) for field in fields]
        self.above = names[:-1]
        self.name = names[-1]
        self.path = ".".join(json_name for json_name, _ in names)
        self.repeated = fields[-1].is_repeated
        self.from_text = _reader(fields[-1], self.path)


def _reader(field: FieldDescriptor, path: str) -> FromText:
    """How text becomes the field's JSON; ``LookupError`` for a field that cannot be given as text."""
    message = field.message_type
    if message is not None:
        if is_wrapper(message):
            return _reader(message.fields_by_name["value"], path)
        if not is_special(message) or message.full_name in _NOT_FROM_TEXT:
            raise LookupError(f"{path} cannot be given as text")
        return _mask if message.full_name == "google.protobuf.FieldMask" else _text
    if field.enum_type is not None:
        return _enum
    return _bool if field.type == FieldDescriptor.TYPE_BOOL else _text


def _text(text: str) -> JsonValue:
    return text


def _bool(text: str) -> JsonValue:
    return {"true": True, "false": False}.get(text, text)


def _enum(text: str) -> JsonValue:
    digits = text.removeprefix("-")
    return (
        int(text)
        if digits.isascii() and digits.isdigit() and len(digits) <= _INT32_DIGITS
        else text
    )


def _mask(text: str) -> JsonValue:
    """Field names as in the contract are taken too: ``display_name``."""
    head, *tail = text.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


_INT32_DIGITS = 10
_MOST_REMEMBERED = 1000


def _parameters(query: str, most: int) -> Iterator[tuple[str, str]]:
    parts = query.split("&")
    if len(parts) > most:
        raise MessageError(f"more than {most} query parameters")
    for part in parts:
        if not part:
            continue
        name, _, text = part.partition("=")
        try:
            yield unquote_plus(name, errors="strict"), unquote_plus(text, errors="strict")
        except UnicodeDecodeError:
            raise _bad(printable(name), "is not UTF-8 in the query") from None


def _bad(path: str, description: str) -> MessageError:
    return MessageError(f"{path}: {description}", (Violation(path, description),))
