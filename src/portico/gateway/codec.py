"""JSON of messages: one small interface, a fast implementation and a plain one.

Both accept and print the same: proto3's JSON mapping, read strictly. Names are accepted in JSON form
and in the contract's; unknown fields, names given twice and two members of a oneof are refused.
Fields without presence are always printed, so that an answer has the same names every time.
Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.message_factory import GetMessageClass

from portico.gateway import document
from portico.gateway.faults import find_faults
from portico.gateway.kinds import descriptor_of
from portico.gateway.shape import Shapes
from portico.gateway.strictness import is_strict
from portico.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.descriptor_pool import DescriptorPool

    from portico.errors import Violation
    from portico.gateway.document import JsonValue

M = TypeVar("M", bound=Message)

_log = logs.logger("portico.gateway")

_MOST_FAULTS = 20
_REFUSALS = (
    ValueError,  # with UnicodeEncodeError
    TypeError,
    OverflowError,
    RecursionError,
    DecodeError,
    EncodeError,
    json_format.Error,
)


class MessageError(ValueError):
    """JSON that is not the message asked for; ``violations`` name the fields, in JSON names."""

    def __init__(self, message: str, violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(message)
        self.violations = violations


class UnprintableError(ValueError):
    """A message that has no JSON form: our own mistake, not a client's."""


class Codec(Protocol):
    """Messages from JSON and back."""

    def decode(self, text: bytes, message_class: type[M]) -> M:
        """The message that ``text`` is; ``DocumentError`` or ``MessageError`` when it is none."""
        ...

    def from_value(self, value: JsonValue, message_class: type[M]) -> M:
        """The message that parsed JSON is; ``MessageError`` when it is none."""
        ...

    def encode(self, message: Message) -> bytes:
        """The message as JSON in UTF-8; ``UnprintableError`` when it has none."""
        ...


class _Strict:
    """What both codecs share: structure is checked here, and refusals are explained."""

    def __init__(self) -> None:
        self._shapes = Shapes()

    def decode(self, text: bytes, message_class: type[M]) -> M:
        return self.from_value(document.read(text), message_class)

    def from_value(self, value: JsonValue, message_class: type[M]) -> M:
        try:
            if self._shapes.of(descriptor_of(message_class)).fits(value):
                return self._parse(value, message_class)
        except _REFUSALS:  # which field it was is found out below
            pass
        raise self._explained(value, descriptor_of(message_class))

    def _parse(self, value: JsonValue, message_class: type[M]) -> M:
        raise NotImplementedError

    def _accepts(self, message: Descriptor, value: dict[str, JsonValue]) -> bool:
        try:
            self._parse(value, GetMessageClass(message))
        except _REFUSALS:
            return False
        return True

    def _explained(self, value: JsonValue, message: Descriptor) -> MessageError:
        faults = find_faults(self._shapes.of(message), value, self._accepts)
        try:
            found = tuple(islice(faults, _MOST_FAULTS))
        except RecursionError:
            found = ()
        if not found:
            return MessageError(f"the JSON is not a {message.name}")
        first = found[0]
        where = f"{first.field}:" if first.field else "the JSON"
        return MessageError(f"{where} {first.description}", found)


class PlainCodec(_Strict):
    """On ``google.protobuf.json_format``: slower, and everywhere."""

    def __init__(self, pool: DescriptorPool) -> None:
        super().__init__()
        self._pool = pool

    def encode(self, message: Message) -> bytes:
        try:
            value = json_format.MessageToDict(
                message, always_print_fields_with_no_presence=True, descriptor_pool=self._pool
            )
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        except (json_format.Error, TypeError, ValueError) as error:
            raise UnprintableError(f"{message.DESCRIPTOR.full_name}: {error}") from error

    def _parse(self, value: JsonValue, message_class: type[M]) -> M:
        message = message_class()
        if not isinstance(value, dict) or not is_strict(value, descriptor_of(message)):
            raise ValueError
        json_format.ParseDict(value, message, descriptor_pool=self._pool)
        message.SerializeToString()  # text that is not Unicode is found out here at the latest
        return message


def choose(pool: DescriptorPool, messages: Iterable[Descriptor]) -> Codec:
    """A codec for ``messages``, ready to use: the fast one if it can take them all, else the plain one."""
    try:
        from portico.gateway.fast import FastCodec

        codec = FastCodec(pool)
        for message in messages:
            codec.prepare(message)
    except (ImportError, LookupError, TypeError, ValueError) as error:
        _log.warning("slow_json", reason=str(error))
        return PlainCodec(pool)
    return codec
