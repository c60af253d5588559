"""`make proto-breaking` tells what a client of the last contracts would miss."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from portico.check.breaking import ComparisonError, broken, committed

if TYPE_CHECKING:
    from pathlib import Path

SHOP = """
syntax = "proto3";
package shop.v1;
message Thing {
  string thing_id = 1;
  string title = 2;
}
"""


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    """A folder of contracts, committed on main of a repository of its own."""
    protos = tmp_path / "repository" / "protos"
    protos.mkdir(parents=True)
    (protos / "buf.yaml").write_text("version: v2\nbreaking:\n  use:\n    - FILE\n")
    (protos / "shop.proto").write_text(SHOP)
    git(protos.parent, "init", "--quiet", "--initial-branch=main")
    commit(protos)
    return protos


def git(folder: Path, *arguments: str) -> None:
    """Run git as nobody in particular, whatever the user's own settings are."""
    settings = ("user.name=somebody", "user.email=somebody@example.com", "commit.gpgsign=false")
    identity = [word for setting in settings for word in ("-c", setting)]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    """Commit everything there is."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message=contracts")


def edit(protos: Path, good: str, bad: str) -> None:
    """Replace one text by another in the contract on disk."""
    assert SHOP.count(good) == 1
    (protos / "shop.proto").write_text(SHOP.replace(good, bad))


def test_an_added_field_breaks_nobody(protos: Path, tmp_path: Path) -> None:
    edit(protos, "title = 2;", "title = 2;\n  int32 weight_grams = 3;")
    assert committed(protos=protos, revision="main", into=tmp_path / "old")
    assert broken(protos=protos, old=tmp_path / "old") == []


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        ("title = 2", "title = 3", '"title"'),
        ("string title", "int32 title", '"title"'),
        ("string title", "string name", '"title"'),
        ("message Thing", "message Item", '"Thing"'),
        ("string title = 2;", "string title = 2", "shop.proto"),
    ],
)
def test_what_a_client_would_miss_is_named(
    protos: Path, tmp_path: Path, good: str, bad: str, named: str
) -> None:
    edit(protos, good, bad)
    assert committed(protos=protos, revision="main", into=tmp_path / "old")
    assert any(named in line for line in broken(protos=protos, old=tmp_path / "old"))


def test_a_commit_without_contracts_has_nothing_to_break(protos: Path, tmp_path: Path) -> None:
    git(protos, "rm", "--quiet", "--cached", "buf.yaml")
    git(protos, "commit", "--quiet", "--no-verify", "--message=no contracts")
    assert not committed(protos=protos, revision="main", into=tmp_path / "old")


def test_a_branch_that_only_the_remote_has_is_found(protos: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(protos.parent), str(clone))
    git(clone, "checkout", "--quiet", "-b", "topic")
    git(clone, "branch", "--quiet", "--delete", "main")
    assert committed(protos=clone / "protos", revision="main", into=tmp_path / "old")


def test_a_branch_that_does_not_exist_is_named(protos: Path, tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match="elsewhere"):
        committed(protos=protos, revision="elsewhere", into=tmp_path / "old")


def test_a_folder_outside_of_git_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match="git"):
        committed(protos=tmp_path, revision="main", into=tmp_path / "old")
