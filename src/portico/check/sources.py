"""Rules about single names in Python files, which a check of imports between modules cannot see.

- The environment is read in ``portico/settings.py`` alone: elsewhere a setting would have no name, no
  documentation and no check.
- The time of day is asked in ``portico/clock.py`` alone: elsewhere a test could not set it.
- A module uses a foreign contract only when its ``module.py`` imports from it too, so that the
  manifest tells all that the module depends on. Events are free to react to: ``reactions.py`` may
  import any ``events_pb2``.

Run it as ``python -m portico.check.sources src``; it prints one finding a line.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Rule(NamedTuple):
    names: frozenset[str]
    home: str
    sentence: str


_RULES = (
    _Rule(
        frozenset({"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"}),
        "portico/settings.py",
        "reads the environment; make it a setting",
    ),
    _Rule(
        frozenset(
            {
                "datetime.date.today",
                "datetime.datetime.now",
                "datetime.datetime.today",
                "datetime.datetime.utcnow",
                "time.ctime",
                "time.gmtime",
                "time.localtime",
                "time.time",
                "time.time_ns",
            }
        ),
        "portico/clock.py",
        "asks the machine for the time; take a Clock in the constructor",
    ),
)

# `commerce.payments.v1.payment_pb2`: the package that names the contract, and whose it is.
_CONTRACT = re.compile(
    r"(?P<package>(?!google\.|buf\.|portico\.)\w+\.(?P<module>\w+)\.v\d+)\.(?P<file>\w+)_pb2(_grpc)?\b"
)


def findings(root: Path) -> list[str]:
    """Everything that breaks a rule below ``root``, one sentence each, sorted by file and line."""
    found: list[str] = []
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"), str(path))
        names = _imported(tree)
        shown = path.relative_to(root).as_posix()
        found += [
            f"{shown}:{line}: {text}"
            for line, text in sorted({*_strays(tree, names, shown), *_undeclared(tree, path)})
        ]
    return found


def _imported(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: ``dt`` for ``datetime.datetime``."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or alias.name.partition(".")[0]: alias.name
                if alias.asname
                else alias.name.partition(".")[0]
                for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return names


def _strays(tree: ast.AST, names: Mapping[str, str], shown: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = _qualified(node, names)
            for rule in _RULES:
                if name in rule.names and shown != rule.home:
                    yield node.lineno, f"{name} {rule.sentence}"


def _qualified(node: ast.expr, names: Mapping[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        owner = _qualified(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""


def _undeclared(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    manifest = path.parent / "module.py"
    if path == manifest or not manifest.is_file():
        return
    own = path.parent.name
    declared = {package for _, package, _, _ in _contracts(ast.parse(manifest.read_text("utf-8")))}
    for line, package, module, file in _contracts(tree):
        reacts = path.name == "reactions.py" and file == "events"
        if module != own and package not in declared and not reacts:
            yield line, f"uses {package}, which module.py does not declare"


def _contracts(tree: ast.AST) -> Iterator[tuple[int, str, str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            continue
        for target in targets:
            if match := _CONTRACT.match(target):
                yield node.lineno, match["package"], match["module"], match["file"]


def main() -> None:
    """Print what breaks a rule; exit with 1 when anything does."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("root", type=Path, help="the folder that holds the packages")
    found = findings(parser.parse_args().root)
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
