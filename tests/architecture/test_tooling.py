"""What stands around the code does what it says: make, lock files, the wheel."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


class TestLockFiles:
    PIN = re.compile(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==(\S+)(?: ; .+)? \\$")
    HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")

    @classmethod
    def pins(cls, name: str) -> dict[str, str]:
        lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        return {match[1]: match[2] for line in lines if (match := cls.PIN.match(line))}

    @pytest.mark.parametrize("name", ["runtime", "dev"])
    def test_every_line_is_a_pin_or_a_hash_so_there_is_no_address(self, name: str) -> None:
        lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        others = [line for line in lines if not self.PIN.match(line) and not self.HASH.match(line)]
        assert others == []
        hashed = [after for line, after in pairwise(lines) if self.PIN.match(line)]
        assert len(hashed) == len(self.pins(name))
        assert all(self.HASH.match(line) for line in hashed)

    def test_an_address_would_be_noticed(self) -> None:
        for line in (
            "--index-url https://registry.example/simple",
            "grpcio @ https://registry.example/grpcio.whl \\",
            "# from https://registry.example/simple",
        ):
            assert not self.PIN.match(line)
            assert not self.HASH.match(line)

    def test_what_the_project_declares_is_pinned_as_declared(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        groups = project["dependency-groups"]
        dev = [entry for entry in groups["dev"] if isinstance(entry, str)]
        declared = {
            "runtime": project["project"]["dependencies"] + groups["build"],
            "dev": project["project"]["dependencies"] + groups["build"] + dev,
        }
        for name, wanted in declared.items():
            pins = self.pins(name)
            for requirement in map(Requirement, wanted):
                assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])

    def test_the_tests_run_on_what_the_program_runs_on(self) -> None:
        assert self.pins("runtime").items() <= self.pins("dev").items()

    def test_what_is_installed_fits_together(self) -> None:
        done = run(sys.executable, "-m", "pip", "check")
        assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel: one folder, as in site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (archive,) = folder.glob("*.whl")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


class TestWheel:
    def test_both_import_roots_meet_in_one_folder(self, wheel: Path) -> None:
        script = """
import sys
here, checkout = sys.argv[1:]
sys.path = [here] + [path for path in sys.path if not path.startswith(checkout) or "site-packages" in path]
import buf.validate.validate_pb2, commerce.orders.v1.orders_service_pb2_grpc, emporium
import portico.lab.v1.hop_pb2, portico.rpc.local, portico.v1.options_pb2
for name, module in sorted(sys.modules.items()):
    if name.partition(".")[0] in {"buf", "commerce", "emporium", "portico"}:
        found = module.__file__ or module.__path__[0]
        assert found.startswith(here), f"{name} comes from {found}"
"""
        done = run(sys.executable, "-c", script, wheel, ROOT, cwd=wheel)
        assert done.returncode == 0, done.stderr

    def test_migrations_and_types_are_in_it(self, wheel: Path) -> None:
        shipped = sorted(path.name for path in (wheel / "emporium" / "migrations").rglob("*.py"))
        assert shipped == sorted(path.name for path in (ROOT / "migrations").rglob("*.py"))
        assert (wheel / "portico" / "py.typed").is_file()
        assert (wheel / "commerce" / "orders" / "v1" / "order_pb2.pyi").is_file()

    def test_it_says_what_it_is(self, wheel: Path) -> None:
        (folder,) = wheel.glob("*.dist-info")
        assert "License-Expression: Apache-2.0" in (folder / "METADATA").read_text()
        assert (folder / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
        assert "portico = portico.cli:main" in (folder / "entry_points.txt").read_text()


FAKE_PYTHON = """#!/bin/sh
echo "$*" >> log
case "$*" in
    *version_info*) exit ${OLD:-0} ;;
    *ensurepip*) exit ${NO_VENV:-0} ;;
    "-m venv"*) rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp portico .venv/bin/portico ;;
    --version) echo "Python 3.9.2" ;;
esac
"""

FAKE_PORTICO = """#!/bin/sh
echo "$PORTICO_GRPC_PORT $*$DATABASE_URL" > started
trap 'echo yes > stopped; exit 0' INT TERM
while [ "$PORTICO_GRPC_PORT" = wait ]; do sleep 0.05; done
"""


class Checkout:
    """A folder with the Makefile, and a python3 on PATH that only writes down what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("cat", "cksum", "cp", "cut", "mkdir", "rm", "sleep", "touch", "uname"):
            tool = shutil.which(name)
            assert tool is not None
            (self.tools / name).symlink_to(tool)
        for path, text in (
            (self.tools / "python3", FAKE_PYTHON),
            (folder / "portico", FAKE_PORTICO),
        ):
            path.write_text(text)
            path.chmod(0o755)
        shutil.copy(ROOT / "Makefile", folder)
        shutil.copytree(ROOT / "requirements", folder / "requirements")

    @property
    def tools(self) -> Path:
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        return tools

    def start(self, goal: str, **environment: str) -> subprocess.Popen[str]:
        make = shutil.which("make")
        assert make is not None
        return subprocess.Popen(
            [make, goal],
            cwd=self.folder,
            env={"PATH": str(self.tools), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self, goal: str, **environment: str) -> tuple[int, str]:
        process = self.start(goal, **environment)
        output, _ = process.communicate(timeout=30)
        return process.returncode, output

    def asked(self) -> str:
        """What python was asked since the last time."""
        log = self.folder / "log"
        text = log.read_text() if log.exists() else ""
        log.unlink(missing_ok=True)
        return text


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "a").mkdir()
    return Checkout(tmp_path / "a")


class TestMake:
    def test_help_is_what_make_alone_prints_and_it_knows_every_goal(self) -> None:
        done = run("make", cwd=ROOT)
        phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert phony is not None
        for goal in phony[1].split():
            assert re.search(rf"^  make {goal} +\w", done.stdout, re.MULTILINE)

    def test_the_first_run_installs_and_the_second_only_starts(self, checkout: Checkout) -> None:
        foreign = {"DATABASE_URL": "postgresql://somebody.else/project"}  # not for a demonstration
        assert checkout.make("run", PORTICO_GRPC_PORT="7", **foreign)[0] == 0
        first = checkout.asked()
        assert "-m venv" in first
        assert "--require-hashes --requirement requirements/runtime.txt" in first
        assert (checkout.folder / "started").read_text() == "7 serve --demo\n"
        assert checkout.make("run")[0] == 0
        assert checkout.asked() == ""

    def test_running_needs_nothing_that_only_tests_need(self, checkout: Checkout) -> None:
        checkout.make("run")
        assert "dev.txt" not in checkout.asked()

    def test_a_new_lock_file_is_installed(self, checkout: Checkout) -> None:
        checkout.make("run")
        checkout.asked()
        with (checkout.folder / "requirements" / "runtime.txt").open("a") as lock:
            lock.write("more==1 \\\n")
        checkout.make("run")
        again = checkout.asked()
        assert "requirements/runtime.txt" in again
        assert "-m venv" not in again

    def test_a_moved_folder_is_set_up_anew(self, checkout: Checkout) -> None:
        checkout.make("run")
        checkout.asked()
        checkout.folder = checkout.folder.rename(checkout.folder.with_name("b"))
        assert checkout.make("run")[0] == 0
        assert "-m venv" in checkout.asked()

    def test_an_old_python_is_refused_in_a_sentence(self, checkout: Checkout) -> None:
        code, output = checkout.make("run", OLD="1")
        assert code == 2
        assert "Python 3.11 or newer is needed; found: Python 3.9.2" in output

    def test_a_python_without_venv_is_refused_with_the_remedy(self, checkout: Checkout) -> None:
        code, output = checkout.make("run", NO_VENV="1")
        assert code == 2
        assert "apt install python3-venv" in output

    def test_what_was_interrupted_is_done_again(self, checkout: Checkout) -> None:
        checkout.make("run", NO_VENV="1")
        assert checkout.make("run")[0] == 0

    @pytest.mark.parametrize("stop", ["SIGTERM to make", "Ctrl-C"])
    def test_stopping_make_stops_the_program(self, checkout: Checkout, stop: str) -> None:
        process = checkout.start("run", PORTICO_GRPC_PORT="wait")
        started = checkout.folder / "started"
        while not started.exists():
            assert process.poll() is None
            time.sleep(0.02)
        if stop == "Ctrl-C":  # the terminal tells the whole group
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert (checkout.folder / "stopped").read_text() == "yes\n"


def test_ci_runs_what_make_check_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make check" in script.read_text()
