"""That the use case is one source in every placement, and has nothing in it that could tell one from another."""

from __future__ import annotations

import ast
import hashlib
import inspect
from pathlib import Path
from textwrap import wrap

from emporium.orders.workflows import place

_EYES = ("portico", "os", "sys", "socket", "importlib")
_TELL = "the source of the workflow: "
# What it may know of the kernel. None of these says where a module is.
_BLIND = {
    "portico.data.Database",
    "portico.events.Events",
    "portico.workflow.Step",
    "portico.workflow.Workflow",
    "portico.workflow.Workflows",
    "portico.workflow.step_key",
}


def tell() -> None:
    """Print what this process runs: the file that its module was loaded from, and the sum of it."""
    file = Path(inspect.getfile(place))
    print(_TELL + hashlib.sha256(file.read_bytes()).hexdigest(), flush=True)


def told(log: str) -> str:
    """The sum that a process has told last; empty when none was."""
    return next(
        (line.removeprefix(_TELL) for line in log.splitlines()[::-1] if line.startswith(_TELL)), ""
    )


def lines(told_sum: str) -> list[str]:
    """For a person to read."""
    return [
        f"src/{place.__name__.replace('.', '/')}.py, in both placements sha256 {told_sum[:16]}",
        *wrap(f"of the kernel it knows {', '.join(sorted(_known(read())))}", 120),
        f"its steps are {', '.join(steps())}",
    ]


def read() -> str:
    """The source of the workflow."""
    return inspect.getsource(place)


def sighted(source: str) -> list[str]:
    """What a source imports by which it could tell where a module is."""
    return [f"the workflow knows {name}" for name in sorted(_known(source) - _BLIND)]


def steps() -> list[str]:
    """The names of the workflow's steps, as they are written down."""
    return [
        node.args[0].value
        for node in ast.walk(ast.parse(read()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Step"
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    ]


def _known(source: str) -> set[str]:
    """What it imports from the kernel and the system."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return {name for name in found if name.partition(".")[0] in _EYES}
