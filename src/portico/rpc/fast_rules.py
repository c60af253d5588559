"""The common ``buf.validate`` rules as plain Python, to say quickly that a message is valid.

protovalidate decides what a rule means and words every violation; asking it costs a microsecond or
more, which is most of a local call. So a message is first put to the predicate compiled here, and
only one that fails goes to protovalidate. A message type with any rule that this file does not know
gets no predicate. A property test holds the two to the same verdict.
Source of the rules: https://buf.build/docs/reference/protovalidate/rules/
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    Test = Callable[[Any], Any]

_STRING_RULES = frozenset({"min_len", "max_len", "pattern"})
_NUMBER_RULES = frozenset({"gt", "gte", "lt", "lte"})
_NUMBER_TYPES = frozenset({"int32", "int64", "uint32", "uint64"})
_REPEATED_RULES = frozenset({"min_items", "max_items"})

# Anchored, and of pieces that Python and RE2 read alike: plain characters, ASCII classes without
# nested sets, groups, counts.
_PLAIN_PATTERN = re.compile(
    r"\^(?:\[(?!\^)(?:(?!&&|--|~~)[!-Z_-~])+\]|[\w @/=-]|\\\.|\((?:\?:)?|[)|?*+]|\{\d+(?:,\d*)?\})*\$", re.ASCII
)


class _Unknown(Exception):  # noqa: N818  # not an error: it ends the compilation
    """A rule that this file leaves to protovalidate."""


def fast_tests(descriptor: Descriptor) -> list[tuple[Test, Test]] | None:
    """What must hold for a message to be surely valid; None when some rule is not a common one.

    Each pair is a function that reads a part of the message and one that judges what was read.
    """
    try:
        return list(_tests(descriptor, ()))
    except _Unknown:
        return None


def _tests(descriptor: Descriptor, above: tuple[str, ...]) -> Iterator[tuple[Test, Test]]:
    if descriptor.full_name in above or _rules(descriptor.GetOptions(), "message"):
        raise _Unknown
    if any(_rules(oneof.GetOptions(), "oneof") for oneof in descriptor.oneofs):
        raise _Unknown
    for field in descriptor.fields:
        rules = _rules(field.GetOptions(), "field")
        required = rules.pop("required", False)
        inside = (*above, descriptor.full_name)
        if field.is_repeated:
            test = _repeated_test(field, rules, inside)
            required_test: Test = len
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            yield from _message_tests(field, rules, inside, required=required)
            continue
        elif field.has_presence and (rules or required):
            raise _Unknown
        else:
            test = _scalar_test(rules)
            required_test = bool
        if required:
            yield attrgetter(field.name), required_test
        if test is not None:
            yield attrgetter(field.name), test


def _message_tests(
    field: FieldDescriptor, rules: dict[str, Any], above: tuple[str, ...], *, required: bool
) -> Iterator[tuple[Test, Test]]:
    """A field that holds one message: whether it must be set, and its own rules when it is."""
    if rules:
        raise _Unknown
    name = field.name
    if required:
        yield lambda message: message.HasField(name), bool
    inner = list(_tests(field.message_type, above))
    if inner:
        yield (
            lambda message: getattr(message, name) if message.HasField(name) else None,
            lambda value: value is None or all(test(read(value)) for read, test in inner),
        )


def _scalar_test(rules: dict[str, Any]) -> Test | None:
    if not rules:
        return None
    if len(rules) > 1:
        raise _Unknown
    kind, rule = next(iter(rules.items()))
    if kind == "string":
        return _string_test(_limits(rule, _STRING_RULES))
    if kind in _NUMBER_TYPES:
        return _number_test(_limits(rule, _NUMBER_RULES))
    raise _Unknown


def _repeated_test(field: FieldDescriptor, rules: dict[str, Any], above: tuple[str, ...]) -> Test | None:
    if rules.keys() - {"repeated"}:
        raise _Unknown
    limits = _limits(rules["repeated"], _REPEATED_RULES) if rules else {}
    least, most = limits.get("min_items", 0), limits.get("max_items", float("inf"))
    inner: list[tuple[Test, Test]] = []
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        inner = list(_tests(field.message_type, above))
    if not (limits or inner):
        return None

    def test(items: Any) -> bool:
        if not least <= len(items) <= most:
            return False
        for item in items:
            for read, holds in inner:
                if not holds(read(item)):
                    return False
        return True

    return test


def _string_test(limits: dict[str, Any]) -> Test:
    least, most = limits.get("min_len", 0), limits.get("max_len", float("inf"))
    if "pattern" not in limits:
        return lambda text: least <= len(text) <= most
    if not _PLAIN_PATTERN.fullmatch(limits["pattern"]):
        raise _Unknown
    matches = re.compile(limits["pattern"][1:-1], re.ASCII).fullmatch
    if len(limits) == 1:
        return matches
    return lambda text: least <= len(text) <= most and matches(text)


def _number_test(limits: dict[str, Any]) -> Test:
    least = limits["gt"] + 1 if "gt" in limits else limits.get("gte", float("-inf"))
    most = limits["lt"] - 1 if "lt" in limits else limits.get("lte", float("inf"))
    if least > most:
        raise _Unknown  # protovalidate reads such a pair as two ranges
    return lambda number: least <= number <= most


def _limits(rule: Message, known: frozenset[str]) -> dict[str, Any]:
    limits = {field.name: value for field, value in rule.ListFields()}
    if not limits or limits.keys() - known:
        raise _Unknown
    return limits


def _rules(options: Message, kind: str) -> dict[str, Any]:
    """The set rules in an option of buf.validate: ``{"string": StringRules(…)}``."""
    for field, value in options.ListFields():
        if field.full_name == f"buf.validate.{kind}":
            return {rule.name: content for rule, content in value.ListFields()}
    return {}
