"""Path templates as ``google.api.http`` defines them.

::

    Template  = "/" Segments [ Verb ]
    Segments  = Segment { "/" Segment }
    Segment   = "*" | "**" | LITERAL | Variable
    Variable  = "{" FieldPath [ "=" Segments ] "}"
    FieldPath = IDENT { "." IDENT }
    Verb      = ":" LITERAL

Source: https://github.com/googleapis/googleapis/blob/master/google/api/http.proto
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

ANY = "*"
REST = "**"

_FIELD_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_LITERAL = re.compile(r"[A-Za-z0-9\-._~%!$&'()+,;@]+")
_VERB = re.compile(r"[A-Za-z0-9\-._~%!$&'()+,;@]+")
_ESCAPE = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_RESERVED = frozenset(b"!#$&'()*+,/:;=?@[]")


class TemplateError(ValueError):
    """The template is not one of ``google.api.http``."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A field that takes the segments from ``start`` up to ``end``, or all the rest when it is None."""

    field_path: str
    start: int
    end: int | None

    def value(self, segments: list[str]) -> str:
        """The field's text in a path that matches; ``UnicodeDecodeError`` when it is none.

        A single segment is decoded wholly. In several, reserved characters stay encoded, so that
        a "/" inside a segment is not taken for one between two.
        """
        if self.end is not None and self.end - self.start == 1:
            return _decode(segments[self.start])
        return "/".join(_decode_unreserved(each) for each in segments[self.start : self.end])


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: its segments (literals, ``*``, ``**``), its variables and its verb."""

    segments: tuple[str, ...]
    variables: tuple[Variable, ...] = ()
    verb: str = ""

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template; ``TemplateError`` says what is wrong with it."""
        if not text.startswith("/"):
            raise TemplateError(f"{text!r} does not begin with '/'")
        path, verb = _split_verb(text)
        segments: list[str] = []
        variables: list[Variable] = []
        for part in _split_segments(path[1:], text):
            _add(part, segments, variables, text)
        if REST in segments[:-1]:
            raise TemplateError(f"{text!r} goes on after '**'")
        names = [each.field_path for each in variables]
        if len(set(names)) != len(names):
            raise TemplateError(f"{text!r} names a variable twice")
        return cls(tuple(segments), tuple(variables), verb)

    def __str__(self) -> str:
        parts = list(self.segments)
        for each in reversed(self.variables):
            taken = "/".join(parts[each.start : each.end])
            pattern = "" if taken == "*" else f"={taken}"
            parts[each.start : each.end] = [f"{{{each.field_path}{pattern}}}"]
        verb = f":{self.verb}" if self.verb else ""
        return f"/{'/'.join(parts)}{verb}"


def _split_verb(text: str) -> tuple[str, str]:
    head, colon, verb = text.rpartition(":")
    if not colon or "/" in verb or "}" in verb:
        return text, ""
    if not _VERB.fullmatch(verb):
        raise TemplateError(f"{text!r} has no verb after ':'")
    return head, verb


def _split_segments(path: str, text: str) -> list[str]:
    """Split at the slashes outside braces."""
    parts, depth, begin = [], 0, 0
    for at, character in enumerate(path):
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        elif character == "/" and depth == 0:
            parts.append(path[begin:at])
            begin = at + 1
        if not 0 <= depth <= 1:
            raise TemplateError(f"{text!r} has braces that do not match")
    if depth:
        raise TemplateError(f"{text!r} has braces that do not match")
    return [*parts, path[begin:]]


def _add(part: str, segments: list[str], variables: list[Variable], text: str) -> None:
    if not part.startswith("{"):
        segments.append(_segment(part, text))
        return
    if not part.endswith("}"):
        raise TemplateError(f"{text!r} has text after a variable")
    name, _, inner = part[1:-1].partition("=")
    if not _FIELD_PATH.fullmatch(name):
        raise TemplateError(f"{text!r} has a variable that is not a field path: {name!r}")
    start = len(segments)
    segments.extend(_segment(each, text) for each in (inner or ANY).split("/"))
    end = None if segments[-1] == REST else len(segments)
    variables.append(Variable(name, start, end))


def _segment(part: str, text: str) -> str:
    if part not in {ANY, REST} and not _LITERAL.fullmatch(part):
        raise TemplateError(f"{text!r} has a segment that is not allowed: {part!r}")
    return part


def _decode(segment: str) -> str:
    return unquote_to_bytes(segment).decode() if "%" in segment else segment


def _decode_unreserved(segment: str) -> str:
    return _ESCAPE.sub(_unreserved, segment) if "%" in segment else segment


def _unreserved(escapes: re.Match[str]) -> str:
    """Decode a run of escapes, but for those of reserved characters."""
    data = bytearray()
    for code in unquote_to_bytes(escapes[0]):
        data += b"%%%02X" % code if code in _RESERVED else bytes((code,))
    return data.decode()
