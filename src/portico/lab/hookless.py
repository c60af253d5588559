"""Modules as they would be if nobody had thought of tracing: the other side of a comparison."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

_HOOK = "tracer"


def hookless(module: ModuleType) -> ModuleType:
    """A copy of ``module`` compiled without whatever it does where there is a tracer.

    Each ``… .tracer is None`` in its source is True and each ``… .tracer is not None`` is False, so
    that the compiler leaves the rest out.
    """
    tree = ast.fix_missing_locations(_Folding().visit(ast.parse(inspect.getsource(module))))
    copy = ModuleType(module.__name__)
    copy.__file__ = module.__file__
    code = compile(tree, module.__file__ or module.__name__, "exec")
    exec(code, copy.__dict__)  # noqa: S102  # our own source
    return copy


class _Folding(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.expr:  # ast's name
        asks_for_hook = isinstance(node.left, ast.Attribute) and node.left.attr == _HOOK
        if not asks_for_hook or not isinstance(node.ops[0], ast.Is | ast.IsNot):
            return node
        return ast.Constant(isinstance(node.ops[0], ast.Is))
