"""What a client of the last contracts would miss in these.

Run it as ``python -m portico.check.breaking``, in the folder that holds ``protos``. It compares the
contracts as they are on disk with those of the last commit on main.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


class ComparisonError(Exception):
    """Nothing can be said, for a reason that somebody has to look at."""


def committed(*, protos: Path, revision: str, into: Path) -> bool:
    """Unpack the contracts of a commit into a folder; False when that commit has none.

    ``revision`` is a branch or a commit. A branch that is not here is looked for at the remote ``origin``.

    Raises:
        ComparisonError: not a git repository, or no such branch.
    """
    commit = _commit(protos, revision)
    # "./" is the folder of the contracts, in whatever commit is asked for.
    if _git(protos, "cat-file", "-e", f"{commit}:./buf.yaml").returncode != 0:
        return False
    packed = _git(protos, "archive", "--format=tar", commit, ".")
    if packed.returncode != 0:
        raise ComparisonError(_text(packed.stderr))
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        for member in archive.getmembers():
            _unpack(archive, member, into)
    return True


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    """One file, without ``extractall``: its safe form came with Python 3.11.4, and Debian has 3.11.2."""
    content = archive.extractfile(member) if member.isfile() else None
    if content is not None:
        target = into / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.read())


def broken(*, protos: Path, old: Path) -> list[str]:
    """What a client of ``old`` would miss in ``protos``, one sentence each, in the words of ``buf breaking``.

    A contract that does not compile is among them.

    Raises:
        ComparisonError: buf could not look.
    """
    buf = Path(sys.executable).parent / "buf"
    done = subprocess.run(
        [buf, "breaking", protos, "--against", old], capture_output=True, check=False
    )
    # buf answers 100 when it found something.
    if done.returncode not in {0, 100}:
        raise ComparisonError(_text(done.stderr))
    return _text(done.stdout).splitlines()


def _commit(protos: Path, revision: str) -> str:
    for name in (revision, f"origin/{revision}"):
        done = _git(protos, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if done.returncode == 0:
            return _text(done.stdout)
    raise ComparisonError(_text(done.stderr) or f"git knows no commit called {revision}")


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(folder), *arguments]  # whichever git the developer uses
    return subprocess.run(command, capture_output=True, check=False)


def _text(output: bytes) -> str:
    return output.decode("utf-8", errors="replace").strip()


def main() -> int:
    """The command line; 1 when something would break or nothing can be said."""
    parser = argparse.ArgumentParser(prog="python -m portico.check.breaking", description=__doc__)
    parser.add_argument(
        "--protos", type=Path, default=Path("protos"), help="where the contracts are"
    )
    parser.add_argument(
        "--against",
        default="main",
        metavar="REVISION",
        help="the branch or commit to keep faith with",
    )
    chosen = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as old:
            if not committed(protos=chosen.protos, revision=chosen.against, into=Path(old)):
                sys.stdout.write(f"{chosen.against} has no contracts yet: nothing can break\n")
                return 0
            found = broken(protos=chosen.protos, old=Path(old))
    except ComparisonError as error:
        sys.stderr.write(f"cannot compare with {chosen.against}: {error}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in found)
    if not found:
        sys.stdout.write(f"nothing that {chosen.against} offers is broken\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
