"""Python from contracts: messages, stubs and their types, written into the folder ``generated``.

Run it as ``python -m portico.check.generate``, in the folder that holds ``protos``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_SERVICE = re.compile(r"^service \w+", re.MULTILINE)


class GenerationError(Exception):
    """A contract does not compile; the message is the compiler's, one finding a line."""


def generate(*, protos: Path, into: Path) -> list[Path]:
    """Compile every contract under ``protos`` and make ``into`` hold exactly the result.

    Files that are right already are left alone; files of contracts that are gone are removed.

    Returns:
        The paths, relative to ``into``, of the files that were written or removed.

    Raises:
        GenerationError: a contract does not compile; ``into`` is as it was.
    """
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        _compile(protos, fresh)
        stale = drift(fresh, into)
        for path in stale:
            _replace(fresh / path, into / path)
    return stale


def drift(fresh: Path, present: Path) -> list[Path]:
    """Files that differ between two folders, or that only one of them has; relative and sorted."""
    return sorted(
        path
        for path in _generated(fresh) | _generated(present)
        if _content(fresh / path) != _content(present / path)
    )


def own_contracts(protos: Path) -> list[Path]:
    """Every ``.proto`` that is not somebody else's, sorted."""
    return sorted(
        path
        for path in protos.rglob("*.proto")
        if "third_party" not in path.relative_to(protos).parts
    )


def run_protoc(protos: Path, *arguments: str, sources: list[Path]) -> None:
    """Run the protobuf compiler that grpcio-tools carries.

    Raises:
        GenerationError: it did not succeed.
    """
    # third_party first: it lies inside protos, and its files must not be taken for protos' own.
    roots = [protos / "third_party", protos]
    includes = [f"--proto_path={root}" for root in roots if root.is_dir()]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *arguments, *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GenerationError(done.stderr.strip())


def _compile(protos: Path, into: Path) -> None:
    own = own_contracts(protos)
    # google/* is a package of its own (googleapis-common-protos); for buf/validate there is none that
    # speaks google.protobuf.
    rules = sorted((protos / "third_party" / "buf").rglob("*.proto"))
    services = [path for path in own if _SERVICE.search(path.read_text(encoding="utf-8"))]
    run_protoc(
        protos,
        f"--plugin=protoc-gen-mypy={_plugin('protoc-gen-mypy')}",
        f"--python_out={into}",
        f"--mypy_out=quiet:{into}",
        sources=own + rules,
    )
    run_protoc(
        protos,
        f"--plugin=protoc-gen-mypy_grpc={_plugin('protoc-gen-mypy_grpc')}",
        f"--grpc_python_out={into}",
        f"--mypy_grpc_out=quiet,only_sync:{into}",
        sources=services,
    )


def _plugin(name: str) -> Path:
    return Path(sys.executable).parent / name


def _generated(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder) for ending in ("*.py", "*.pyi") for path in folder.rglob(ending)
    }


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _replace(source: Path, target: Path) -> None:
    content = _content(source)
    if content is None:
        target.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def main() -> int:
    """The command line; 1 when a contract does not compile."""
    parser = argparse.ArgumentParser(prog="python -m portico.check.generate", description=__doc__)
    parser.add_argument(
        "--protos", type=Path, default=Path("protos"), help="where the contracts are"
    )
    parser.add_argument(
        "--into", type=Path, default=Path("generated"), help="where the Python goes"
    )
    chosen = parser.parse_args()
    try:
        changed = generate(protos=chosen.protos, into=chosen.into)
    except GenerationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for path in changed:
        sys.stdout.write(f"{chosen.into / path}\n")
    sys.stdout.write(f"{len(changed)} generated files changed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
