"""Finding out which fields of a refused document are to blame.

Every part is tried alone with the codec that refused the whole, so that what is told is what the
codec does. The work is bounded: long lists are halved until the item is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portico.errors import Violation
from portico.gateway.document import printable
from portico.gateway.kinds import expectation, neutral
from portico.gateway.shape import DEEPEST, LIST, MAP, SINGLE, is_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from google.protobuf.descriptor import Descriptor

    from portico.gateway.document import JsonValue
    from portico.gateway.shape import Field, Shape

    Accepts = Callable[[Descriptor, dict[str, JsonValue]], bool]
    """Whether the codec takes a document with that one field of the message."""

_LONG = 1000


def find_faults(shape: Shape, value: JsonValue, accepts: Accepts) -> Iterator[Violation]:
    """Where and why ``value`` is not the message; paths are in JSON names, ``items[0].quantity``."""
    return _Search(accepts).in_message(shape, value, "", 0)


class _Search:
    def __init__(self, accepts: Accepts) -> None:
        self._accepts = accepts

    def in_message(
        self, shape: Shape, value: JsonValue, path: str, depth: int
    ) -> Iterator[Violation]:
        if depth > DEEPEST:
            yield Violation(path, f"must not be nested deeper than {DEEPEST}")
        elif not isinstance(value, dict):
            yield Violation(path, "must be an object")
        else:
            yield from self._in_object(shape, value, path, depth)

    def _in_object(
        self, shape: Shape, value: dict[str, JsonValue], path: str, depth: int
    ) -> Iterator[Violation]:
        chosen: dict[str, str] = {}
        for key, item in value.items():
            field = shape.field(key)
            here = _joined(path, printable(key))
            if field is None:
                yield Violation(here, "is not a field of this request")
            elif key != field.json_name and field.json_name in value:
                yield Violation(here, f"is given twice: as {field.json_name} too")
            elif item is not None and field.oneof and chosen.setdefault(field.oneof, here) != here:
                yield Violation(here, f"cannot be set together with {chosen[field.oneof]}")
            else:
                yield from self._in_field(shape, field, item, _joined(path, field.json_name), depth)

    def _in_field(
        self, shape: Shape, field: Field, item: JsonValue, path: str, depth: int
    ) -> Iterator[Violation]:
        if item is None and (field.container is not SINGLE or not field.free_form):
            return
        if field.container is LIST:
            if not isinstance(item, list):
                yield Violation(path, "must be a list")
                return
            for at in _bad(item, lambda some: self._takes(shape, field, some)):
                yield from self._in_item(shape, field, item[at], f"{path}[{at}]", depth)
        elif field.container is MAP:
            if not isinstance(item, dict):
                yield Violation(path, "must be an object")
                return
            pairs = list(item.items())
            for at in _bad(pairs, lambda some: self._takes(shape, field, dict(some))):
                key, held = pairs[at]
                yield from self._in_entry(shape, field, key, held, path, depth)
        else:
            yield from self._in_item(shape, field, item, path, depth)

    def _in_entry(
        self, shape: Shape, field: Field, key: str, item: JsonValue, path: str, depth: int
    ) -> Iterator[Violation]:
        where = f'{path}["{printable(key)}"]'
        if self._takes(shape, field, {key: neutral(field.descriptor)}):
            yield from self._in_item(shape, field, item, where, depth, key)
        else:
            expected = expectation(field.key or field.descriptor, key)
            yield Violation(where, f"has a name that {expected}")

    def _in_item(
        self,
        shape: Shape,
        field: Field,
        item: JsonValue,
        path: str,
        depth: int,
        key: str = "",
    ) -> Iterator[Violation]:
        if field.inner is not None:
            if item is None:
                yield Violation(path, "must not be null")
            else:
                yield from self.in_message(field.inner, item, path, depth + 1)
            return
        if item is None and not field.free_form:
            yield Violation(path, "must not be null")
        elif field.free_form and not is_finite(item):
            yield Violation(path, f"must not hold infinite numbers or be deeper than {DEEPEST}")
        else:
            alone: dict[str, JsonValue] = {SINGLE: item, LIST: [item], MAP: {key: item}}
            if not self._takes(shape, field, alone[field.container]):
                yield Violation(path, expectation(field.descriptor, item))

    def _takes(self, shape: Shape, field: Field, some: JsonValue) -> bool:
        fits = field.fits is None or field.fits(some)
        return fits and self._accepts(shape.message, {field.json_name: some})


def _bad(items: Sequence[Any], ok: Callable[[Any], bool]) -> Iterator[int]:
    """The places of the items to blame; of a long list, the first one only."""
    begin = 0
    while begin < len(items) and not ok(items[begin:]):
        low, high = begin, len(items)
        while high - low > 1:
            middle = (low + high) // 2
            if ok(items[low:middle]):
                low = middle
            else:
                high = middle
        yield low
        if len(items) > _LONG:
            return
        begin = low + 1


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
