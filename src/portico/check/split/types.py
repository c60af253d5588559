"""What kind of thing an expression is, as far as annotations and assignments tell: a stub, an own class, one rpc."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, TypeGuard

from portico.check.split.code import Class, Code, Function, qualified

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.check.split.source import SourceFile

_FOREIGN = {"Callable", "type"}  # what stands in their brackets is not what they are


class Types:
    """Answers for the functions of ``code``. A kind is the full name of a class, or the path of an rpc.

    A container counts as what it holds, and None as nothing, so that ``dict[str, Stub]`` and
    ``Stub | None`` are both the stub's.
    """

    def __init__(self, code: Code, stubs: Mapping[str, Mapping[str, str]]) -> None:
        """``stubs`` are the generated classes by full name, each with the path of every rpc by its name."""
        self._code = code
        self._stubs = stubs
        self._locals: dict[Function, dict[str, str]] = {}
        self._attributes: dict[Class, dict[str, str]] = {}

    def functions(self, node: ast.expr, function: Function) -> list[Function]:
        """The functions of the code that ``node`` may stand for; a class stands for its constructor."""
        if isinstance(node, ast.Attribute):
            owner = self.of(node.value, function)
            methods = self._code.methods(owner, node.attr) if owner else []
            if methods:
                return methods
        place: Function | None = function
        while isinstance(node, ast.Name) and place is not None:
            nested = self._code.functions.get(f"{place.name}.{node.id}")
            if nested is not None:
                return [nested]
            place = place.outer
        name = self._code.canonical(qualified(node, function.file))
        found = self._code.functions.get(name) or self._code.method(name, "__init__")
        return [] if found is None else [found]

    def of(self, node: ast.AST | None, function: Function) -> str:
        """The kind of thing; empty when nothing tells."""
        if isinstance(node, ast.Name):
            return self._of_name(node.id, function)
        if isinstance(node, ast.Attribute):
            return self._of_attribute(node, function)
        if isinstance(node, ast.Call):
            return self._of_answer(node.func, function)
        if isinstance(node, ast.Subscript | ast.Await | ast.NamedExpr | ast.Starred):
            return self.of(node.value, function)
        parts = node.values if isinstance(node, ast.BoolOp) else []
        if isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        return next(filter(None, (self.of(each, function) for each in parts)), "")

    def _of_name(self, name: str, function: Function) -> str:
        if name in {"self", "cls"} and function.owner is not None:
            return function.owner.name
        place: Function | None = function
        while place is not None:
            found = self._in(place).get(name)
            if found is not None:
                return found
            place = place.outer
        return ""

    def _of_attribute(self, node: ast.Attribute, function: Function) -> str:
        owner = self.of(node.value, function)
        if owner in self._stubs:
            return self._stubs[owner].get(node.attr, "")
        kind = self._code.classes.get(owner)
        if kind is None:
            return ""
        getter = self._code.method(owner, node.attr)
        if getter is not None:
            return self._answered(getter) if getter.is_decorated_with("property") else ""
        found = (self._attributes_of(each).get(node.attr, "") for each in self._code.bases(kind))
        return next(filter(None, found), "")

    def _of_answer(self, called: ast.expr, function: Function) -> str:
        name = self._known(qualified(called, function.file))
        if name:
            return name
        found = self.functions(called, function)
        return self._answered(found[0]) if found else ""

    def _answered(self, function: Function) -> str:
        returns = None if isinstance(function.node, ast.Lambda) else function.node.returns
        return self._annotated(returns, function.file)

    def _known(self, name: str) -> str:
        """The class of this name, if it is one that matters."""
        found = self._code.canonical(name)
        is_kernels = found.startswith("portico.") and found.rpartition(".")[2][:1].isupper()
        return found if is_kernels or found in self._stubs or found in self._code.classes else ""

    def _annotated(self, annotation: ast.AST | None, file: SourceFile) -> str:
        for node in _names(annotation):
            found = self._known(qualified(node, file))
            if found:
                return found
        return ""

    def _in(self, function: Function) -> dict[str, str]:
        """The kinds of a function's parameters and variables, by name."""
        if function not in self._locals:
            found = self._locals[function] = {}  # filled below, and asked meanwhile
            for argument in _arguments(function):
                found[argument.arg] = self._annotated(argument.annotation, function.file)
            for target, value, annotation in _assignments(function):
                if isinstance(target, ast.Name) and not found.get(target.id):
                    found[target.id] = self._assigned(value, annotation, function)
        return self._locals[function]

    def _attributes_of(self, kind: Class) -> dict[str, str]:
        if kind not in self._attributes:
            found = self._attributes[kind] = {}
            for node in kind.node.body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    found[node.target.id] = self._annotated(node.annotation, kind.file)
            for method in kind.methods.values():
                for target, value, annotation in _assignments(method):
                    if _is_own(target) and not found.get(target.attr):
                        found[target.attr] = self._assigned(value, annotation, method)
        return self._attributes[kind]

    def _assigned(
        self, value: ast.expr | None, annotation: ast.expr | None, function: Function
    ) -> str:
        return self._annotated(annotation, function.file) or self.of(value, function)


def _names(annotation: ast.AST | None) -> Iterator[ast.AST]:
    """The names in an annotation, outermost first; those in quotes too."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Name | ast.Attribute):
        yield annotation
    elif isinstance(annotation, ast.Subscript):
        outer = list(_names(annotation.value))
        yield from outer
        if not any(ast.unparse(each).rpartition(".")[2] in _FOREIGN for each in outer):
            yield from _names(annotation.slice)
    elif annotation is not None:
        for child in ast.iter_child_nodes(annotation):
            yield from _names(child)


def _arguments(function: Function) -> Iterator[ast.arg]:
    given = function.node.args
    yield from (*given.posonlyargs, *given.args, *given.kwonlyargs)


def _assignments(
    function: Function,
) -> Iterator[tuple[ast.expr, ast.expr | None, ast.expr | None]]:
    """Each target in a function, with the value and the annotation it is given."""
    for statement in function.statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    yield target, node.value, None
            elif isinstance(node, ast.AnnAssign):
                yield node.target, node.value, node.annotation
            elif isinstance(node, ast.NamedExpr):
                yield node.target, node.value, None
            elif isinstance(node, ast.For | ast.comprehension):
                yield node.target, node.iter, None
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                yield node.optional_vars, node.context_expr, None


def _is_own(target: ast.expr) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    )
