"""YAML with comments, written from plain data: the same text for the same data, every time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = "  "
_WIDTH = 100
_SCALARS = (str, bool, int, float)
# What every reader takes for text without quotes, in version 1.1 and 1.2 of YAML, inside brackets or not.
_PLAIN = re.compile(
    r"(--)?[A-Za-z_/][A-Za-z0-9_./@$=+%-]*(:[A-Za-z0-9_./@$=+%-]+)*|[0-9]+(ms|s|m|Mi)"
)
_NO_TEXT = re.compile(r"true|false|yes|no|on|off|y|n|null", re.IGNORECASE)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Noted:
    """A value with a comment for whoever reads the file; it stands above the value."""

    note: str
    value: object


def document(content: object, *, note: str = "", spaced: int = 0) -> str:
    """One YAML document: ``content`` is made of mappings, lists, texts, numbers and ``Noted``.

    ``note`` is its first comment. So many outer levels of mappings as ``spaced`` says have an empty line
    between their longer entries. Raises TypeError for a value of any other kind.
    """
    lines = [*_comment(note, ""), *([""] if note else []), *_block(content, "", spaced)]
    return "\n".join(lines) + "\n"


def documents(contents: Sequence[object], *, note: str = "") -> str:
    """Several documents in one file. A comment stands above the document that it is ``Noted`` with."""
    written = []
    for content in contents:
        comment, value = _opened(content)
        written.append("\n".join([*_comment(comment, ""), *_block(value, "")]) + "\n")
    head = "\n".join([*_comment(note, ""), ""]) + "\n" if note else ""
    return head + "---\n".join(written)


def _block(value: object, indent: str, spaced: int = 0) -> Iterator[str]:
    """Lines of a mapping or a list that begin on a line of their own."""
    if isinstance(value, Mapping):
        for number, (key, held) in enumerate(value.items()):
            note, each = _opened(held)
            head = f"{indent}{_scalar(key)}:"
            lines = [*_comment(note, indent), *_entry(head, each, indent + _STEP, spaced - 1)]
            if number and spaced > 0 and len(lines) > 1:
                yield ""
            yield from lines
    elif isinstance(value, list | tuple):
        for held in value:
            note, each = _opened(held)
            yield from _comment(note, indent)
            yield from _item(each, indent)
    else:
        raise TypeError(f"no YAML document can be a {type(value).__name__}")


def _entry(head: str, value: object, indent: str, spaced: int = 0) -> Iterator[str]:
    """``head`` and its value: on the same line where it fits, else below."""
    short = _flow(value, len(head))
    if short is not None:
        yield f"{head} {short}"
    elif isinstance(value, str):
        yield f"{head} |"
        yield from (f"{indent}{line}".rstrip() for line in value.splitlines())
    else:
        yield head
        yield from _block(value, indent, spaced)


def _item(value: object, indent: str) -> Iterator[str]:
    if isinstance(value, str) or _flow(value, len(indent)) is not None:
        yield from _entry(f"{indent}-", value, indent + _STEP)
        return
    lines = list(_block(value, indent + _STEP))
    first = next(number for number, line in enumerate(lines) if line.lstrip()[:1] != "#")
    lines[first] = f"{indent}- {lines[first].lstrip()}"
    yield from lines


def _flow(value: object, used: int) -> str | None:
    """What stands on the line of its key, of which so many columns are used; None for what goes below."""
    if isinstance(value, str):
        return None if _is_literal(value) else _scalar(value)
    if isinstance(value, Mapping):
        return None if value else "{}"
    if isinstance(value, list | tuple):
        if not all(isinstance(each, _SCALARS) for each in value):
            return None
        line = f"[{', '.join(map(_scalar, value))}]"
        return line if used + len(line) < _WIDTH or not value else None
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if not isinstance(value, str):
        raise TypeError(f"YAML has no {type(value).__name__}")
    if _PLAIN.fullmatch(value) and not _NO_TEXT.fullmatch(value):
        return value
    return '"' + "".join(map(_character, value)) + '"'


def _character(each: str) -> str:
    if each in _ESCAPES:
        return _ESCAPES[each]
    return each if each.isprintable() else f"\\U{ord(each):08X}"


def _is_literal(text: str) -> bool:
    """Whether a text can stand as it is, line by line, below its key."""
    lines = text.split("\n")
    return (
        len(lines) > 1
        and lines[-1] == ""
        and lines[0].strip() == lines[0] != ""
        and lines[-2] != ""
        and all(line.isprintable() and line == line.rstrip() for line in lines)
    )


def _comment(note: str, indent: str) -> Iterator[str]:
    return (f"{indent}# {line}".rstrip() for line in note.splitlines())


def _opened(held: object) -> tuple[str, object]:
    return (held.note, held.value) if isinstance(held, Noted) else ("", held)
