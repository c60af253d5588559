"""The ``buf.validate`` rules of a message, checked before its servicer sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import protovalidate
from google.protobuf.descriptor import FieldDescriptor

from portico import errors
from portico.rpc.fast_rules import fast_tests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

INVALID = "INVALID_REQUEST"


def compile_validation(message_class: type[Message]) -> Callable[[Message], None] | None:
    """A check that raises INVALID_ARGUMENT with every violation; None when the contract has no rules.

    The rules are compiled here, so that no request pays for it.
    """
    if not _has_rules(message_class.DESCRIPTOR, set()):
        return None
    collect = protovalidate.Validator().collect_violations
    collect(message_class())
    tests = fast_tests(message_class.DESCRIPTOR) or [(_itself, _never)]

    def validate(message: Message) -> None:
        for read, holds in tests:
            if not holds(read(message)):
                break
        else:
            return
        found = collect(message)
        if found:
            raise _invalid(found)

    return validate


def _itself(message: Message) -> Message:
    return message


def _never(_: Message) -> bool:
    """Stands for rules that only protovalidate can judge."""
    return False


def _invalid(found: Iterable[protovalidate.Violation]) -> errors.StatusError:
    violations = [
        errors.Violation(_path(each), each.proto.message or each.proto.rule_id, each.proto.rule_id)
        for each in found
    ]
    first = violations[0]
    message = f"{first.field}: {first.description}" if first.field else first.description
    return errors.invalid_argument(INVALID, message, violations=violations)


def _path(violation: protovalidate.Violation) -> str:
    """``items[0].quantity`` for the violation's field path."""
    field = violation.proto.field
    path = ""
    for element in field.elements if field else ():
        path += f".{element.field_name}" if path else element.field_name
        subscript = element.subscript
        if subscript is not None:
            path += f"[{subscript.value}]"
    return path


def _has_rules(descriptor: Descriptor, seen: set[str]) -> bool:
    """Whether any rule can apply to the message or to one inside it."""
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    if _ruled(descriptor.GetOptions()) or any(_ruled(each.GetOptions()) for each in descriptor.oneofs):
        return True
    return any(
        _ruled(field.GetOptions())
        or (field.type == FieldDescriptor.TYPE_MESSAGE and _has_rules(field.message_type, seen))
        for field in descriptor.fields
    )


def _ruled(options: Message) -> bool:
    return any(field.full_name.startswith("buf.validate.") for field, _ in options.ListFields())
