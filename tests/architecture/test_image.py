"""The image, as far as it can be tried without an engine: its wheel is built from what the Dockerfile copies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from portico.render.pods import USER

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
KEPT = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}


def copied() -> list[str]:
    """What is copied to where the wheel is built."""
    lines = re.findall(r"^COPY (?!--from)(.+) /source\S*$", DOCKERFILE, re.MULTILINE)
    return [path for line in lines for path in line.split()]


def built(source: Path, into: Path) -> set[str]:
    """The files of the wheel of the tree at ``source``."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", into],
        cwd=source,
        capture_output=True,
        check=True,
    )
    (wheel,) = into.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        return {name for name in packed.namelist() if not name.endswith(".pyc")}


def context(folder: Path, paths: list[str]) -> Path:
    """A folder that has these paths of the checkout and nothing else."""
    for path in paths:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / path, target)
    return folder


def test_the_program_in_the_image_is_all_of_it(tmp_path: Path) -> None:
    inside = built(context(tmp_path / "source", copied()), tmp_path / "inside")

    assert inside == built(ROOT, tmp_path / "outside")


@pytest.mark.parametrize("forgotten", ["migrations", "topologies"])
def test_what_is_forgotten_is_missed(forgotten: str, tmp_path: Path) -> None:
    paths = [path for path in copied() if path != forgotten]
    source = context(tmp_path / "source", paths)
    try:
        inside = built(source, tmp_path / "inside")
    except subprocess.CalledProcessError:
        return
    assert not any(f"/{forgotten}/" in name for name in inside)


def test_what_is_copied_is_not_ignored() -> None:
    for path in copied():
        assert path.rstrip("/") in KEPT or f"{path}runtime.txt" in KEPT


def test_it_runs_as_the_user_whom_the_manifests_name() -> None:
    assert f"--uid {USER} " in DOCKERFILE
    assert f"USER {USER}\n" in DOCKERFILE
