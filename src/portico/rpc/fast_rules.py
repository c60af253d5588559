"""The common ``buf.validate`` rules as one Python expression, to say quickly that a message is valid.

protovalidate decides what a rule means and words every violation; asking it costs microseconds, which
is most of a local call. So a message is first put to the function compiled here, and only one that
fails goes to protovalidate. A message type with any rule that this file does not know gets no
function. A property test holds the two to the same verdict.
Source of the rules: https://protovalidate.com/reference/rules/
"""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    Test = Callable[[Message], bool]

_STRING_RULES = frozenset({"min_len", "max_len", "pattern"})
_NUMBER_RULES = frozenset({"gt", "gte", "lt", "lte"})
_NUMBER_TYPES = frozenset({"int32", "int64", "uint32", "uint64"})
_REPEATED_RULES = frozenset({"min_items", "max_items", "unique", "items"})

# Anchored, and of pieces that Python and RE2 read alike: plain characters, ASCII classes without
# nested sets, groups, counts.
_PLAIN_PATTERN = re.compile(
    r"\^(?:\[(?!\^)(?:(?!&&|--|~~)[!-Z_-~])+\]|[\w @/=-]|\\\.|\((?:\?:)?|[)|?*+]|\{\d+(?:,\d*)?\})*\$",
    re.ASCII,
)
# The one CEL expression that is common enough: no two items have the same value in a field.
_UNIQUE_FIELD = re.compile(r"this\.map\((\w+), \1\.(\w+)\)\.unique\(\)")


class _Unknown(Exception):  # noqa: N818  # not an error: it ends the compilation
    """A rule that this file leaves to protovalidate."""


def compile_fast(descriptor: Descriptor) -> Test | None:
    """Whether a message is surely valid, as a function; None when some rule is not a common one."""
    try:
        return _Compiler().function(descriptor)
    except _Unknown:
        return None


class _Compiler:
    """Writes one expression for each message type, over the names ``f0``, ``f1``, … of what it uses."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {}
        self._above: list[str] = []

    def function(self, descriptor: Descriptor) -> Test | None:
        if descriptor.full_name in self._above or _rules(descriptor.GetOptions(), "message"):
            raise _Unknown
        if any(_rules(oneof.GetOptions(), "oneof") for oneof in descriptor.oneofs):
            raise _Unknown
        self._above.append(descriptor.full_name)
        tests = [test for field in descriptor.fields for test in self._tests(field)]
        self._above.pop()
        if not tests and self._above:
            return None
        # Made of field names, numbers and the names below; no text of a contract gets in.
        source = f"lambda m: {' and '.join(tests) or 'True'}"
        test: Test = eval(source, self._names)  # noqa: S307  # see above
        return test

    def _tests(self, field: FieldDescriptor) -> list[str]:
        rules = _rules(field.GetOptions(), "field")
        required = rules.pop("required", False)
        if keyword.iskeyword(field.name):
            raise _Unknown
        value = f"m.{field.name}"
        inner = None if field.message_type is None else self.function(field.message_type)
        if field.is_repeated:
            if _is_map(field) and (rules or inner):
                raise _Unknown
            return [
                *([f"len({value}) > 0"] if required else []),
                *self._repeated(field, rules, inner),
            ]
        if field.message_type is not None:
            if rules:
                raise _Unknown
            return self._message(field, inner, required=required)
        if field.has_presence and (rules or required):
            raise _Unknown
        return [*([value] if required else []), *self._scalar(value, rules)]

    def _message(self, field: FieldDescriptor, inner: Test | None, *, required: bool) -> list[str]:
        """Whether the one message in a field is set, where it must be, and valid where it is."""
        is_set = f"m.HasField({field.name!r})"
        if inner is None:
            return [is_set] if required else []
        valid = f"{self._name(inner)}(m.{field.name})"
        return [is_set, valid] if required else [f"(not {is_set} or {valid})"]

    def _repeated(
        self, field: FieldDescriptor, rules: dict[str, Any], inner: Test | None
    ) -> list[str]:
        unique_field = _unique_field(rules.pop("cel", ()))
        if rules.keys() - {"repeated"}:
            raise _Unknown
        limits = _limits(rules["repeated"], _REPEATED_RULES) if rules else {}
        value = f"m.{field.name}"
        tests = _between(f"len({value})", limits.get("min_items"), limits.get("max_items"))
        if limits.get("unique"):
            if field.type != FieldDescriptor.TYPE_STRING:
                raise _Unknown
            tests.append(f"len({{*{value}}}) == len({value})")
        if unique_field:
            _check_is_text(field, unique_field)
            tests.append(f"len({{i.{unique_field} for i in {value}}}) == len({value})")
        if "items" in limits:
            of_item = {rule.name: content for rule, content in limits["items"].ListFields()}
            tests += [f"all({test} for i in {value})" for test in self._scalar("i", of_item)]
        if inner is not None:
            tests.append(f"all(map({self._name(inner)}, {value}))")
        return tests

    def _scalar(self, value: str, rules: dict[str, Any]) -> list[str]:
        if not rules:
            return []
        if len(rules) > 1:
            raise _Unknown
        kind, rule = next(iter(rules.items()))
        if kind == "string":
            return self._string(value, _limits(rule, _STRING_RULES))
        if kind in _NUMBER_TYPES:
            return _number(value, _limits(rule, _NUMBER_RULES))
        raise _Unknown

    def _string(self, value: str, limits: dict[str, Any]) -> list[str]:
        tests = _between(f"len({value})", limits.get("min_len"), limits.get("max_len"))
        if "pattern" in limits:
            if not _PLAIN_PATTERN.fullmatch(limits["pattern"]):
                raise _Unknown
            try:
                matches = re.compile(limits["pattern"][1:-1], re.ASCII).fullmatch
            except re.error:
                raise _Unknown from None
            tests.append(f"{self._name(matches)}({value})")
        return tests

    def _name(self, thing: object) -> str:
        name = f"f{len(self._names)}"
        self._names[name] = thing
        return name


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _number(value: str, limits: dict[str, Any]) -> list[str]:
    least = limits["gt"] + 1 if "gt" in limits else limits.get("gte")
    most = limits["lt"] - 1 if "lt" in limits else limits.get("lte")
    if least is not None and most is not None and least > most:
        raise _Unknown  # protovalidate reads such a pair as two ranges
    return _between(value, least, most)


def _between(value: str, least: int | None, most: int | None) -> list[str]:
    if least is None and most is None:
        return []
    lower = "" if least is None else f"{least} <= "
    return [f"{lower}{value}" + ("" if most is None else f" <= {most}")]


def _unique_field(cel: Any) -> str | None:
    if not cel:
        return None
    found = _UNIQUE_FIELD.fullmatch(cel[0].expression) if len(cel) == 1 else None
    if found is None:
        raise _Unknown
    return found[2]


def _check_is_text(field: FieldDescriptor, inner: str) -> None:
    """Only text: CEL's equality of other types, such as NaN, is not Python's."""
    message = field.message_type
    of_item = message.fields_by_name.get(inner) if message else None
    if of_item is None or of_item.is_repeated or of_item.type != FieldDescriptor.TYPE_STRING:
        raise _Unknown


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
