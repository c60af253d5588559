"""A supervisor as an operator has it: a program that gets signals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.portico.supervise.conftest import (
    PATIENCE_SECONDS,
    STANDIN,
    Program,
    is_running,
    wait_until,
)

_SCRIPT = """
import asyncio, json, os, sys
from portico.supervise.child import ChildSpec
from portico.supervise.output import Output
from portico.supervise.run import ChangeRefusedError, run
from portico.supervise.supervisor import Supervisor
from portico.telemetry import logs

logs.configure("info", "json")
plans = {plans}
output = Output()
supervisor = Supervisor(output=output)

def plan():
    if not plans:
        raise ChangeRefusedError("there is no other plan")
    return [
        ChildSpec(name=name, version=version, command=(sys.executable, "standin.py", *flags))
        for name, version, *flags in plans.pop(0)
    ]

def tell(what):
    print(json.dumps({{"what": what, "pids": supervisor.pids()}}), flush=True)

sys.exit(asyncio.run(run(supervisor, plan, announce=lambda: tell("up"), changed=lambda: tell("changed"))))
"""


class Supervised(Program):
    def __init__(self, folder: Path, *plans: list[list[str]]) -> None:
        super().__init__(folder, _SCRIPT.format(plans=list(plans)))

    def pids(self) -> dict[str, int]:
        return dict(json.loads(self.said().splitlines()[-1])["pids"])

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def programs() -> Iterator[list[Supervised]]:
    started: list[Supervised] = []
    yield started
    for program in started:
        program.process.kill()
        program.process.wait()


def _started(programs: list[Supervised], folder: Path, *plans: list[list[str]]) -> Supervised:
    programs.append(Supervised(folder, *plans))
    return programs[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_its_children_when_it_is_told_to(
    number: signal.Signals, programs: list[Supervised], tmp_path: Path
) -> None:
    program = _started(programs, tmp_path, [["a", ""], ["b", ""]])
    program.wait_for('"up"')
    pids = program.pids()
    program.send(number)
    assert program.ended() == 0
    assert not any(is_running(pid) for pid in pids.values())
    assert program.logged().count("told SIGINT") == 2


def test_a_start_that_fails_ends_it_with_1_and_no_child(
    programs: list[Supervised], tmp_path: Path
) -> None:
    program = _started(programs, tmp_path, [["a", ""], ["b", "", "--broken"]])
    assert program.ended() == 1
    assert "b ended before it was ready (exit code 3)" in program.logged()
    assert "told SIGINT" in program.logged()


def test_sighup_goes_over_to_the_next_plan_and_one_that_cannot_be_changes_nothing(
    programs: list[Supervised], tmp_path: Path
) -> None:
    program = _started(programs, tmp_path, [["a", ""], ["b", ""]], [["a", ""], ["b", "2"]])
    program.wait_for('"up"')
    before = program.pids()
    program.send(signal.SIGHUP)
    program.wait_for('"changed"')
    after = program.pids()
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    program.send(signal.SIGHUP)
    program.wait_for("there is no other plan")
    assert all(is_running(pid) for pid in after.values())


def test_a_second_signal_does_not_wait(programs: list[Supervised], tmp_path: Path) -> None:
    program = _started(programs, tmp_path, [["deaf", "", "--deaf"]])
    program.wait_for('"up"')
    pid = program.pids()["deaf"]
    program.send(signal.SIGTERM)
    wait_until(lambda: program.process.poll() is None)
    program.send(signal.SIGTERM)
    program.send(signal.SIGINT)
    program.ended()
    assert not is_running(pid)


def test_no_child_survives_a_supervisor_that_is_killed(
    programs: list[Supervised], tmp_path: Path
) -> None:
    program = _started(programs, tmp_path, [["a", ""], ["b", ""]])
    program.wait_for('"up"')
    pids = program.pids()
    program.process.kill()
    program.ended()
    wait_until(lambda: not any(is_running(pid) for pid in pids.values()))


def test_a_program_that_serves_ends_whatever_the_signal_interrupts() -> None:
    ended = subprocess.run(
        [sys.executable, STANDIN.parent / "unlucky.py"],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )

    assert ended.stdout.splitlines() == ["is ready", "stopped"]
