"""What the files of an application define: functions and classes, and which function runs a given line."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import partial
from inspect import unwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.check.split.source import SourceFile

    FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True, eq=False)
class Function:
    """A function, method or lambda. ``owner`` is the class around it, ``outer`` the function around it."""

    file: SourceFile
    name: str
    node: FunctionNode
    owner: Class | None = None
    outer: Function | None = None

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.node.lineno

    @property
    def statements(self) -> list[ast.stmt] | list[ast.expr]:
        """What it does."""
        return [self.node.body] if isinstance(self.node, ast.Lambda) else self.node.body

    def is_decorated_with(self, name: str) -> bool:
        """Whether one of its decorators has this in its name."""
        decorators = [] if isinstance(self.node, ast.Lambda) else self.node.decorator_list
        return any(name in ast.unparse(each) for each in decorators)


@dataclass(frozen=True, eq=False)
class Class:
    """A class with its methods."""

    file: SourceFile
    name: str
    node: ast.ClassDef
    methods: dict[str, Function] = field(default_factory=dict)


class Code:
    """Every definition in ``files``, by its full name such as ``shop.orders.service.Orders.Place``."""

    def __init__(self, files: Mapping[str, SourceFile]) -> None:
        self._files = files
        self.classes: dict[str, Class] = {}
        self.functions: dict[str, Function] = {}
        self._by_place: dict[tuple[str, int], list[Function]] = {}
        for file in files.values():
            for node in file.tree.body:
                self._add(node, file, None, None)

    def canonical(self, name: str) -> str:
        """The name under which something is defined that is known as ``name``: a package may hand it on."""
        for _ in range(10):  # a name that stands for itself would never end
            home, _, last = name.rpartition(".")
            if name in self.classes or name in self.functions or home not in self._files:
                return name
            name = self._files[home].names.get(last, "")
        return ""

    def bases(self, kind: Class) -> Iterator[Class]:
        """The class and those it is derived from, as far as their source is known; nearest first."""
        yield kind
        for base in kind.node.bases:
            found = self.classes.get(self.canonical(qualified(base, kind.file)))
            if found is not None and found is not kind:
                yield from self.bases(found)

    def method(self, class_name: str, name: str) -> Function | None:
        """The method of the class that answers to ``name``."""
        kind = self.classes.get(class_name)
        each_in_turn = () if kind is None else self.bases(kind)
        return next((each.methods[name] for each in each_in_turn if name in each.methods), None)

    def methods(self, class_name: str, name: str) -> list[Function]:
        """The method that answers to ``name``, and those of derived classes that may answer in its place."""
        first = self.method(class_name, name)
        derived = (
            kind.methods[name]
            for kind in self.classes.values()
            if name in kind.methods and any(each.name == class_name for each in self.bases(kind))
        )
        return list(dict.fromkeys([*([] if first is None else [first]), *derived]))

    def running(self, function: Any) -> list[Function]:
        """What a function object runs; empty when its source is not known, several where lambdas share a line."""
        while isinstance(function, partial):
            function = function.func
        code = getattr(unwrap(getattr(function, "__func__", function)), "__code__", None)
        if code is None:
            return []
        there = self._by_place.get((code.co_filename, code.co_firstlineno), [])
        is_lambda = code.co_name == "<lambda>"
        return [each for each in there if isinstance(each.node, ast.Lambda) is is_lambda]

    def everything(self) -> Iterator[Function]:
        """Every function and method that has a name."""
        yield from self.functions.values()
        for kind in self.classes.values():
            yield from kind.methods.values()

    def _add(
        self, node: ast.AST, file: SourceFile, owner: Class | None, outer: Function | None
    ) -> None:
        around = outer or owner or file
        if isinstance(node, ast.ClassDef):
            kind = Class(file, f"{around.name}.{node.name}", node)
            self.classes[kind.name] = kind
            for statement in node.body:
                self._add(statement, file, kind, None)
            return
        if isinstance(node, _FUNCTIONS):
            name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
            function = Function(file, f"{around.name}.{name}", node, owner, outer)
            self._place(function)
            if owner is not None and outer is None and not isinstance(node, ast.Lambda):
                owner.methods[name] = function
            elif not isinstance(node, ast.Lambda):
                self.functions[function.name] = function
            outer = function
        for child in ast.iter_child_nodes(node):
            self._add(child, file, owner, outer)

    def _place(self, function: Function) -> None:
        node = function.node
        decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
        first = min([node.lineno, *(each.lineno for each in decorators)])
        self._by_place.setdefault((str(function.file.path), first), []).append(function)


def qualified(node: ast.AST, file: SourceFile) -> str:
    """The full name that a name or a chain of attributes stands for in ``file``; empty for anything else."""
    if isinstance(node, ast.Attribute):
        owner = qualified(node.value, file)
        return f"{owner}.{node.attr}" if owner else ""
    if isinstance(node, ast.Name):
        return file.names.get(node.id, f"{file.name}.{node.id}")
    return ""
