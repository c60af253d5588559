"""Servers are started without running anything of ours, or of a library's, in a forked child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from portico.data.account import Account
from portico.data.launcher import launched

START_POSTGRES = """
import os, sys
from pathlib import Path
from portico.data import EmbeddedPostgres

os.register_at_fork(after_in_child=lambda: Path(sys.argv[2]).touch())
with EmbeddedPostgres(Path(sys.argv[1]), fsync=False) as server:
    assert server.pid
{plant}
"""
PLANTED = "import subprocess; subprocess.run(['true'], preexec_fn=lambda: None)"


def _fork_handler_ran(tmp_path: Path, plant: str) -> bool:
    seen = tmp_path / "seen"
    subprocess.run(
        [sys.executable, "-c", START_POSTGRES.format(plant=plant), tmp_path / "home", seen],
        check=True,
        timeout=60,
    )
    return seen.exists()


def test_starting_postgres_runs_no_fork_handler(tmp_path: Path) -> None:
    assert not _fork_handler_ran(tmp_path, plant="")


def test_a_fork_handler_that_runs_is_noticed(tmp_path: Path) -> None:
    assert _fork_handler_ran(tmp_path, plant=PLANTED)


def test_a_program_for_the_same_user_and_without_a_farewell_is_run_as_it_is() -> None:
    me = Account(name="me", uid=os.geteuid(), gid=os.getegid())
    assert launched(["/bin/true", Path("/tmp")], account=me) == ["/bin/true", "/tmp"]
    assert launched(["/bin/true"], account=None) == ["/bin/true"]


def test_the_program_keeps_the_process_id_and_gets_its_arguments() -> None:
    command = ["/bin/sh", "-c", 'echo $$ "$1"', "sh", "two words"]
    with subprocess.Popen(
        launched(command, account=None, farewell=signal.SIGINT), stdout=subprocess.PIPE, text=True
    ) as process:
        said, _ = process.communicate(timeout=10)
    assert said == f"{process.pid} two words\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_in_no_group_but_its_own() -> None:
    nobody = Account(name="nobody", uid=65534, gid=65534)
    said = subprocess.run(
        launched(["/usr/bin/id"], account=nobody), capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("uid=65534(nobody) gid=65534")
    assert "(root)" not in said
