"""The ``buf.validate`` rules of a message, checked before its servicer sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import protovalidate

from portico import errors
from portico.rpc.contract import descriptor_of
from portico.rpc.fast_rules import compile_fast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

INVALID = "INVALID_REQUEST"


class Validation(NamedTuple):
    """The rules of one message class, as two questions.

    ``is_surely_valid`` is quick and may say False of a valid message; then ``check`` raises
    INVALID_ARGUMENT with every violation, or returns when there is none.
    """

    is_surely_valid: Callable[[Any], object]
    check: Callable[[Any], None]


def compile_validation(message_class: type[Message]) -> Validation | None:
    """The rules of ``message_class``; None when its contract has none.

    They are compiled here, so that no request pays for it.
    """
    descriptor = descriptor_of(message_class)
    if not _has_rules(descriptor, set()):
        return None
    collect = protovalidate.Validator().collect_violations
    collect(message_class())

    def check(message: Message) -> None:
        found = collect(message)
        if found:
            raise _invalid(found)

    return Validation(compile_fast(descriptor) or _never, check)


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
    if _ruled(descriptor.GetOptions()) or any(
        _ruled(each.GetOptions()) for each in descriptor.oneofs
    ):
        return True
    return any(
        _ruled(field.GetOptions())
        or (field.message_type is not None and _has_rules(field.message_type, seen))
        for field in descriptor.fields
    )


def _ruled(options: Message) -> bool:
    return any(field.full_name.startswith("buf.validate.") for field, _ in options.ListFields())
