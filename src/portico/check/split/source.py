"""The Python files that make up a module: those its manifest names, and what they import of their own package."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_KERNEL = "portico"
_GENERATED = ("_pb2", "_pb2_grpc")


@dataclass(frozen=True, eq=False)
class SourceFile:
    """One file. ``name`` is the module's, with dots; ``names`` say what each imported name stands for."""

    path: Path
    name: str
    tree: ast.Module
    names: Mapping[str, str]


def read(roots: Iterable[str]) -> dict[str, SourceFile]:
    """The files of the Python modules ``roots`` and of all that they import of their own packages, by name.

    They are read, not run. The kernel's own files are not among them, nor those that were generated.
    """
    found: dict[str, SourceFile] = {}
    pending = list(dict.fromkeys(roots))
    packages = {root.partition(".")[0] for root in pending} - {_KERNEL}
    while pending:
        name = pending.pop()
        path = None if name in found else _path(name)
        if path is None:
            continue
        file = found[name] = _parsed(name, path)
        for imported in file.names.values():
            if imported.partition(".")[0] in packages:
                pending += [imported, imported.rpartition(".")[0]]
    return found


def _path(name: str) -> Path | None:
    if name.endswith(_GENERATED):
        return None
    loaded = sys.modules.get(name)
    place = getattr(loaded, "__file__", None) if loaded else _origin(name)
    return Path(place) if place and place.endswith(".py") else None


def _origin(name: str) -> str | None:
    try:
        spec = find_spec(name) if name else None
    except (ImportError, ValueError, AttributeError):  # an attribute of a module, and no module
        return None
    return spec.origin if spec else None


def _parsed(name: str, path: Path) -> SourceFile:
    tree = ast.parse(path.read_text("utf-8"), str(path))
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    return SourceFile(path, name, tree, dict(_imported(tree, package)))


def _imported(tree: ast.Module, package: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or whole, whole
                yield alias.name, alias.name  # not a name in the code, but a file to read
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, package)
            for alias in node.names:
                yield alias.asname or alias.name, f"{origin}.{alias.name}"


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])
