"""The table guard: no statement of a module touches another module's schema."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_REMEMBERED = 2_000

# The lexical structure of https://www.postgresql.org/docs/current/sql-syntax-lexical.html. What holds
# no name (strings, comments, numbers, parameters) is matched so that nothing inside it is taken for one.
_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\* )
    | (?P<string>  [eE]'(?:[^'\\]|\\.|'')*' | (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*' )
    | (?P<dollar>  \$(?:[^\W\d]\w*)?\$ )
    | (?P<quoted>  (?:[uU]&)?"(?:[^"]|"")*" )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<number>  \d[\w.]* )
    | (?P<parameter> %\(\w+\)[sbt] | %[sbt] | \$\d+ )
    | (?P<dot>     \. )
    | (?P<other>   \S )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_PART = re.compile(r"/\*|\*/")
_WRITES = {
    "insert",
    "update",
    "delete",
    "merge",
    "truncate",
    "create",
    "alter",
    "drop",
    "copy",
    "call",
    "do",
}
# What would end the transaction, change the session for whoever gets the connection next, or run code
# that nobody can look into. The second word makes some of them harmless.
_CONTROL = {"begin", "start", "commit", "end", "abort", "prepare", "discard", "reset", "do"}
_CONTROL_UNLESS = {"rollback": {"to"}, "set": {"local", "constraints", "transaction"}}


class ForeignTableError(RuntimeError):
    """A statement that its module must not issue."""


class TableGuard:
    """Checks every statement once per module and remembers the ones that are in order."""

    def __init__(self) -> None:
        self._schemas: frozenset[str] = frozenset()
        self._passed: set[tuple[str, bool, str]] = set()

    def protect(self, schema: str) -> None:
        """Let only the module of this name touch ``schema``."""
        self._schemas |= {schema}
        self._passed = set()

    def check(self, statement: str, *, schema: str, read_only: bool) -> None:
        """Raise :class:`ForeignTableError` when the module that owns ``schema`` may not issue ``statement``.

        Refused: a name in another module's schema, a write where it only reads, and statements that
        would end the transaction or change the session behind the kernel's back.
        """
        key = (schema, read_only, statement)
        if key in self._passed:
            return
        self._examine(statement, schema=schema, read_only=read_only)
        if len(self._passed) >= _MOST_REMEMBERED:
            self._passed = set()
        self._passed.add(key)

    def _examine(self, statement: str, *, schema: str, read_only: bool) -> None:
        foreign = self._schemas - {schema}
        for name in _qualifiers(statement):
            if name in foreign:
                raise ForeignTableError(
                    f"module {schema} names the schema {name}, which only module {name} may touch "
                    f"(an alias of that name needs another one): {statement}"
                )
        for before, word, following in _leading_words(statement):
            if read_only and word in _WRITES:
                raise ForeignTableError(f"module {schema} writes where it only reads: {statement}")
            if before == "(":
                continue  # a column may well be called start
            if word in _CONTROL or following not in _CONTROL_UNLESS.get(word, {following}):
                raise ForeignTableError(
                    f"transactions and sessions are the kernel's, not module {schema}'s: {statement}"
                )


def _qualifiers(statement: str) -> Iterator[str]:
    """The first part of every dotted name, as Postgres folds it."""
    first, after_dot = None, False
    for kind, text in _tokens(statement):
        if kind == "dot":
            if first is not None:
                yield first
            first, after_dot = None, True
        else:
            is_name = kind in ("word", "quoted") and not after_dot
            first, after_dot = (_folded(kind, text) if is_name else None), False


def _leading_words(statement: str) -> Iterator[tuple[str, str, str]]:
    """The words that decide what a statement does, each between what precedes and what follows it.

    They stand at its beginning, and at the beginning of what is in parentheses (a subquery, a CTE).
    """
    texts = [";", *(text.lower() for _, text in _tokens(statement)), ""]
    for before, text, following in zip(texts, texts[1:], texts[2:], strict=False):
        if before in (";", "("):
            yield before, text, following


def _tokens(statement: str) -> Iterator[tuple[str, str]]:
    position = 0
    while match := _TOKEN.search(statement, position):
        kind, text, position = match.lastgroup or "", match.group(), match.end()
        if text == "/*":
            position = _end_of_comment(statement, position)
        elif kind == "dollar":
            end = statement.find(text, position)
            position = len(statement) if end < 0 else end + len(text)
        if kind != "comment":
            yield kind, text


def _end_of_comment(statement: str, position: int) -> int:
    depth = 1
    while depth:
        match = _COMMENT_PART.search(statement, position)
        if match is None:
            return len(statement)
        depth += 1 if match.group() == "/*" else -1
        position = match.end()
    return position


def _folded(kind: str, text: str) -> str:
    if kind == "word":
        return text.lower()
    return text[text.index('"') + 1 : -1].replace('""', '"')
