"""How one message crosses from one side of a local call to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from google.protobuf.message import Message

from portico.errors import StatusError
from portico.rpc.contract import descriptor_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor

    from portico.rpc.interfaces import Deserializer, Serializer


class Transfer(NamedTuple):
    """The sender's message as the receiver's: one of exactly ``as_is`` itself, others ``moved``."""

    as_is: type
    moved: Callable[[Any], Any]


def compile_transfer(
    message_class: type[Message] | None,
    serialize: Serializer,
    deserialize: Deserializer,
    *,
    share: bool,
    what: str,
) -> Transfer:
    """How messages of a method cross; ``what`` is "request" or "response".

    When both sides speak of the same generated class the message is copied, or handed over as it is
    with ``share``. Otherwise it goes through the two sides' own serializers, as over a wire. What
    cannot be serialized is INTERNAL, as grpcio tells it.
    """
    through_bytes = _through_bytes(serialize, deserialize, what)
    same_class = getattr(deserialize, "__self__", None) is message_class
    if message_class is None or not same_class or not is_simple(message_class):
        return Transfer(_Nothing, through_bytes)

    def shared(message: Any) -> Any:
        return message if type(message) is message_class else through_bytes(message)

    def copied(message: Any) -> Any:
        if type(message) is not message_class:
            return through_bytes(message)
        return message.__deepcopy__()

    return Transfer(message_class, shared) if share else Transfer(_Nothing, copied)


def is_simple(message_class: type[Message]) -> bool:
    """Whether every message of the class can be serialized: none of proto2's required fields inside."""
    return not _has_required(descriptor_of(message_class), set())


def _has_required(descriptor: Descriptor, seen: set[str]) -> bool:
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    return descriptor.is_extendable or any(
        field.is_required or (field.message_type and _has_required(field.message_type, seen))
        for field in descriptor.fields
    )


def _through_bytes(
    serialize: Serializer, deserialize: Deserializer, what: str
) -> Callable[[Any], Any]:
    def transfer(message: Any) -> Any:
        data = _made(serialize, message, f"Exception serializing {what}!")
        return _made(deserialize, data, f"Exception deserializing {what}!")

    return transfer


def _made(make: Callable[[Any], Any] | None, material: Any, complaint: str) -> Any:
    """What ``make`` makes; as in grpcio, a failure and None are the same."""
    try:
        made = material if make is None else make(material)
    except Exception:  # noqa: BLE001  # whatever a serializer raises
        made = None
    if made is None:
        raise StatusError(grpc.StatusCode.INTERNAL, complaint)
    return made


class Conformity(NamedTuple):
    """What a servicer may answer with: messages of exactly ``accepted``, and what ``convert`` accepts.

    ``convert`` returns the message to send, or raises TypeError.
    """

    accepted: type
    convert: Callable[[Any], Any]


def compile_conformity(message_class: type[Message] | None) -> Conformity:
    """The rule for the responses of a method; without descriptors, anything but None will do."""
    if message_class is None:
        return Conformity(_Nothing, _not_none)

    def convert(message: Any) -> Any:
        if not isinstance(message, Message):
            raise _wrong(message_class, message)
        if not message.IsInitialized():
            name = message_class.__name__
            raise TypeError(f"the servicer returned {name} without a required field")
        if type(message) is message_class:
            return message
        return message_class.FromString(message.SerializeToString())  # as plain gRPC would do

    return Conformity(message_class if is_simple(message_class) else _Nothing, convert)


class _Nothing:
    """The class of no message."""


def _not_none(message: Any) -> Any:
    if message is None:
        raise _wrong(bytes, message)
    return message


def _wrong(expected: type, message: object) -> TypeError:
    return TypeError(f"the servicer returned {type(message).__name__}, not {expected.__name__}")
