"""What a ``with`` holds open: a unit of work, a reading, or nothing that matters here."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.check.split.code import Code, Function
    from portico.check.split.types import Types

    Opened = Literal["unit_of_work", "reading", ""]

_BY_HAND = (ast.Expr, ast.Assign, ast.AnnAssign)


class Openings:
    """Knows what opens a transaction, also where functions, decorators and classes of the code do it for others."""

    def __init__(self, code: Code, types: Types) -> None:
        self._code = code
        self._types = types

    def of(self, context: ast.expr, function: Function) -> Opened:
        """What ``with context`` in ``function`` opens."""
        if isinstance(context, ast.Name):
            assigned = self._assigned(context.id, function)
            return "" if assigned is None else self.of(assigned, function)
        told = _first([context])
        if told or not isinstance(context, ast.Call):
            return told
        kind = self._code.classes.get(self._types.of(context, function))
        if kind is not None and self._code.method(kind.name, "__enter__"):
            return _first(each.node for each in kind.methods.values())
        return next(
            filter(None, map(_handed_on, self._types.functions(context.func, function))), ""
        )

    def around(self, function: Function) -> Opened:
        """What is open while ``function`` runs, because a decorator of it sees to that."""
        if isinstance(function.node, ast.Lambda):
            return ""
        for decorator in function.node.decorator_list:
            named = decorator.func if isinstance(decorator, ast.Call) else decorator
            told = _first(each.node for each in self._types.functions(named, function))
            if told:
                return told
        return ""

    def _assigned(self, name: str, function: Function) -> ast.expr | None:
        for statement in function.statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.Assign) and any(
                    isinstance(each, ast.Name) and each.id == name for each in node.targets
                ):
                    return node.value
        return None


def is_entered_by_hand(node: ast.AST) -> bool:
    """Whether a statement enters a unit of work that an ``ExitStack`` leaves: at the latest at the end."""
    return isinstance(node, _BY_HAND) and any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr == "enter_context"
        and _first(each.args) == "unit_of_work"
        for each in ast.walk(node)
    )


def _handed_on(function: Function) -> Opened:
    """What a function opens for its caller: it answers it, or is a context manager around it."""
    if function.is_decorated_with("contextmanager"):
        return _first([function.node])
    answers = (node for node in ast.walk(function.node) if isinstance(node, ast.Return))
    return _first(answers)


def _first(nodes: Iterable[ast.AST]) -> Opened:
    """What is opened anywhere in ``nodes``; a unit of work before a reading."""
    found = {
        each.func.attr
        for node in nodes
        for each in ast.walk(node)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)
    }
    if "unit_of_work" in found:
        return "unit_of_work"
    return "reading" if "reading" in found else ""
