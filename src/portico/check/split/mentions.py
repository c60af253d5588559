"""What a function calls or hands on, and under which circumstances: in a transaction, while reading, in a loop."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from portico.check.split.code import qualified
from portico.check.split.opening import Openings, is_entered_by_hand

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from portico.check.split.code import Code, Function
    from portico.check.split.types import Types

_LOOPS = (ast.For, ast.AsyncFor, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_REPEATED = {"body", "elt", "key", "value"}
_DEFINITIONS = {"Step", "Wait", "Workflow"}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """``transaction`` is the line of the unit of work that is open, 0 for none; ``reading`` that of a reading."""

    transaction: int = 0
    reading: int = 0
    loop: bool = False


class Call(NamedTuple):
    """An rpc; ``name`` alone, with no ``path``, where it is not known on which stub."""

    line: int
    circumstances: Circumstances
    name: str
    path: str


class Use(NamedTuple):
    """A function of the code, called or handed on."""

    line: int
    circumstances: Circumstances
    function: Function


class Run(NamedTuple):
    """A workflow is started."""

    line: int
    circumstances: Circumstances


class Change(NamedTuple):
    """A unit of work is opened."""

    line: int
    circumstances: Circumstances


class Naming(NamedTuple):
    """A request gets its ``request_id``."""

    line: int
    circumstances: Circumstances


Mention = Call | Use | Run | Change | Naming


class Mentions:
    """What each function of the code mentions; looked up once."""

    def __init__(self, code: Code, types: Types, rpcs: frozenset[str]) -> None:
        """``rpcs`` are the names of all rpcs of other modules, for what is called on something unknown."""
        self._code = code
        self._types = types
        self._rpcs = rpcs
        self._openings = Openings(code, types)
        self._known: dict[Function, list[Mention]] = {}

    def of(self, function: Function) -> list[Mention]:
        """In the order of the lines; what a lambda mentions is mentioned where it stands."""
        if function not in self._known:
            here = _within(Circumstances(), self._openings.around(function), function.line)
            self._known[function] = list(self._in_block(function.statements, function, here))
        return self._known[function]

    def _in_block(
        self, block: Sequence[ast.AST], function: Function, here: Circumstances
    ) -> Iterator[Mention]:
        for node in block:
            yield from self._in(node, function, here)
            if is_entered_by_hand(node):  # and left somewhere, at the latest at the end
                here = replace(here, transaction=_line(node))

    def _in(self, node: ast.AST, function: Function, here: Circumstances) -> Iterator[Mention]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return  # used where it is named
        if isinstance(node, ast.With | ast.AsyncWith):
            yield from self._in_with(node, function, here)
            return
        if isinstance(node, ast.Call):
            if self._is_definition(node, function):
                return  # its steps run when the workflow does, and not here
            yield from self._in_call(node, function, here)
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            yield from self._named(node, function, here)
        elif _names_request(node):
            yield Naming(_line(node), here)
        for name, value in ast.iter_fields(node):
            if name == "value" and self._is_alias(node, function):
                continue
            repeated = isinstance(node, _LOOPS) and name in _REPEATED
            children = value if isinstance(value, list) else [value]
            nodes = [each for each in children if isinstance(each, ast.AST)]
            around = replace(here, loop=True) if repeated else here
            yield from self._in_block(nodes, function, around)

    def _in_with(
        self, node: ast.With | ast.AsyncWith, function: Function, here: Circumstances
    ) -> Iterator[Mention]:
        for item in node.items:
            yield from self._in(item.context_expr, function, here)
            opened = self._openings.of(item.context_expr, function)
            here = _within(here, opened, item.context_expr.lineno)
        yield from self._in_block(node.body, function, here)

    def _in_call(
        self, node: ast.Call, function: Function, here: Circumstances
    ) -> Iterator[Mention]:
        if not isinstance(node.func, ast.Attribute):
            yield from (Call(node.lineno, here, name, "") for name in self._asked_by_name(node))
        elif node.func.attr == "unit_of_work":
            yield Change(node.lineno, here)
        elif node.func.attr == "run":
            home, _, kind = self._types.of(node.func.value, function).rpartition(".")
            if kind == "Workflows" and home.startswith("portico.workflow"):
                yield Run(node.lineno, here)

    def _asked_by_name(self, node: ast.Call) -> list[str]:
        """The rpc in ``getattr(stub, "Charge")``."""
        if not (isinstance(node.func, ast.Name) and node.func.id == "getattr"):
            return []
        names = [each.value for each in node.args if isinstance(each, ast.Constant)]
        return [each for each in names if isinstance(each, str) and each in self._rpcs]

    def _named(
        self, node: ast.Attribute | ast.Name, function: Function, here: Circumstances
    ) -> Iterator[Mention]:
        path = self._types.of(node, function)
        if path.startswith("/"):
            yield Call(node.lineno, here, path.rpartition("/")[2], path)
            return
        used = self._types.functions(node, function)
        yield from (Use(node.lineno, here, each) for each in used)
        if isinstance(node, ast.Attribute) and node.attr in self._rpcs:
            kind = self._types.of(node.value, function)
            is_known = (kind or _is_imported(node.value, function)) and not self._is_port(kind)
            if not is_known:
                yield Call(node.lineno, here, node.attr, "")

    def _is_port(self, class_name: str) -> bool:
        """Whether the class only says what it takes, so that a stub may stand for it."""
        kind = self._code.classes.get(class_name)
        bases = [] if kind is None else kind.node.bases
        return any("Protocol" in ast.unparse(base) for base in bases)

    def _is_definition(self, node: ast.Call, function: Function) -> bool:
        home, _, name = self._code.canonical(qualified(node.func, function.file)).rpartition(".")
        return name in _DEFINITIONS and home.startswith("portico.workflow")

    def _is_alias(self, node: ast.AST, function: Function) -> bool:
        """Whether an rpc is given another name here, under which it is called elsewhere."""
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute)):
            return False
        return self._types.of(node.value, function).startswith("/")


def _within(here: Circumstances, opened: str, line: int) -> Circumstances:
    if opened == "unit_of_work":
        return replace(here, transaction=here.transaction or line)
    return replace(here, reading=here.reading or line) if opened else here


def _names_request(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg == "request_id"
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(each, ast.Attribute) and each.attr == "request_id" for each in targets)


def _is_imported(node: ast.expr, function: Function) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in function.file.names


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)
