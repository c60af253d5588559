"""What a supervisor does with children that start, crash, change and end; the children are stand-ins."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable

import pytest

from portico.supervise.child import Child
from portico.supervise.keeper import StartError
from portico.supervise.supervisor import Supervisor
from tests.portico.supervise.conftest import PATIENCE_SECONDS, Heard, is_running, standin

Play = Callable[[Supervisor], Awaitable[None]]


def _run(heard: Heard, play: Play, *, stop_seconds: float = 20) -> None:
    async def scene() -> None:
        supervisor = Supervisor(
            output=heard.output, stop_seconds=stop_seconds, delays_seconds=(0.01, 0.02)
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                await play(supervisor)
            finally:
                await supervisor.stop()

    asyncio.run(scene())


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # another process has no event for it
        await asyncio.sleep(0.01)


def test_children_start_one_after_the_other_and_end_the_other_way_round(heard: Heard) -> None:
    async def play(supervisor: Supervisor) -> None:
        await supervisor.start([standin("callee"), standin("caller")])
        assert list(supervisor.pids()) == ["callee", "caller"]
        assert supervisor.greeting("caller") == "before\nstandin is ready\n  and greets"

    _run(heard, play)
    ends = [line for line in heard.err() if "told" in line]
    assert ends == ["caller | told SIGINT", "callee | told SIGINT"]


def test_a_child_that_ends_before_it_is_ready_stops_the_start_and_is_named(heard: Heard) -> None:
    async def play(supervisor: Supervisor) -> None:
        with pytest.raises(StartError, match=r"two ended before it was ready \(exit code 3\)"):
            await supervisor.start([standin("one"), standin("two", "--broken"), standin("three")])
        assert list(supervisor.pids()) == ["one"]

    _run(heard, play)
    assert "no such thing" in heard.said_by("two")
    assert heard.said_by("three") == []


def test_a_child_that_never_says_it_is_ready_is_given_up_and_killed(heard: Heard) -> None:
    async def play(supervisor: Supervisor) -> None:
        mute = dataclasses.replace(standin("mute", "--deaf"), ready="never", patience_seconds=0.5)
        with pytest.raises(StartError, match=r"mute was not ready within 0.5 s"):
            await supervisor.start([mute])

    _run(heard, play)


def test_a_program_that_does_not_exist_stops_the_start(heard: Heard) -> None:
    async def play(supervisor: Supervisor) -> None:
        spec = dataclasses.replace(standin("nothing"), command=("/no/such/program",))
        with pytest.raises(StartError, match="nothing ended before it was ready"):
            await supervisor.start([spec])

    _run(heard, play)


def test_a_child_that_is_killed_runs_again_and_the_others_go_on(
    heard: Heard, capfd: pytest.CaptureFixture[str]
) -> None:
    async def play(supervisor: Supervisor) -> None:
        await supervisor.start([standin("a"), standin("b")])
        before = supervisor.pids()
        os.kill(before["a"], signal.SIGKILL)
        await _until(lambda: supervisor.pids().get("a", before["a"]) != before["a"])
        assert supervisor.pids()["b"] == before["b"]

    _run(heard, play)
    assert "killed by SIGKILL" in capfd.readouterr().err


def test_a_child_that_crashes_each_time_is_started_later_and_later(
    heard: Heard, capfd: pytest.CaptureFixture[str]
) -> None:
    starts = '"event":"starting"'

    async def play(supervisor: Supervisor) -> None:
        await supervisor.start([standin("a", "--crash")])
        await _until(lambda: sum(starts in line for line in heard.err()) >= 4)

    _run(heard, play)
    told = capfd.readouterr().err
    assert '"in_seconds":0.01' in told
    assert told.count('"in_seconds":0.02') >= 2


def test_a_child_for_which_there_was_no_room_is_started_when_there_is(
    heard: Heard, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def heard_of() -> bool:
        told.append(capfd.readouterr().err)
        return "could not be started" in "".join(told)

    async def play(supervisor: Supervisor) -> None:
        await supervisor.start([standin("a")])
        before = supervisor.pids()["a"]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # there are no descriptors left
        try:
            os.kill(before, signal.SIGKILL)
            await _until(heard_of)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await _until(lambda: supervisor.pids().get("a", before) != before)

    _run(heard, play)


def test_a_child_that_does_not_end_is_killed(heard: Heard) -> None:
    pids: list[int] = []

    async def play(supervisor: Supervisor) -> None:
        await supervisor.start([standin("deaf", "--deaf")])
        pids.extend(supervisor.pids().values())

    _run(heard, play, stop_seconds=0.2)
    assert not is_running(pids[0])


def test_a_change_replaces_what_has_another_version_and_nothing_else(heard: Heard) -> None:
    async def play(supervisor: Supervisor) -> None:
        await supervisor.start([standin("a"), standin("b"), standin("c")])
        before = supervisor.pids()
        await supervisor.change([standin("a"), standin("b", version="2"), standin("d")])
        after = supervisor.pids()
        assert list(after) == ["a", "b", "d"]
        assert after["a"] == before["a"]
        assert after["b"] != before["b"]
        assert not is_running(before["b"])
        assert not is_running(before["c"])

    _run(heard, play)
    started = [line for line in heard.err() if "starting" in line]
    assert [line.rpartition('"process":')[2] for line in started] == [
        *('"a"}', '"b"}', '"c"}', '"d"}', '"b"}')  # what is new comes before what is replaced
    ]
    leaving = [line for line in heard.err() if "told SIGTERM" in line]
    assert leaving == ["b | told SIGTERM", "c | told SIGTERM"]


def test_the_old_one_is_told_to_leave_only_when_the_new_one_is_ready(heard: Heard) -> None:
    async def play(supervisor: Supervisor) -> None:
        await supervisor.start([standin("a", "--linger")])
        before = supervisor.pids()["a"]
        changing = asyncio.create_task(supervisor.change([standin("a", version="2")]))
        await _until(lambda: supervisor.pids().get("a", before) != before)
        assert is_running(before)
        await changing
        assert not is_running(before)

    _run(heard, play)
    events = [line for line in heard.err() if "starting" in line or "told" in line]
    assert "starting" in events[1]
    assert events[2:] == ["a | told SIGTERM", "a | told SIGINT"]


def test_a_change_to_something_broken_leaves_what_serves_alone(heard: Heard) -> None:
    async def play(supervisor: Supervisor) -> None:
        await supervisor.start([standin("a"), standin("b")])
        before = supervisor.pids()
        with pytest.raises(StartError, match="a ended before it was ready"):
            await supervisor.change([standin("a", "--broken", version="2")])
        assert supervisor.pids() == before
        assert all(is_running(pid) for pid in before.values())
        await supervisor.change([standin("a", version="3")])  # mended
        assert list(supervisor.pids()) == ["a"]
        assert supervisor.pids()["a"] != before["a"]

    _run(heard, play)


def test_what_a_child_leaves_behind_with_its_pipes_does_not_hold_the_end_up(heard: Heard) -> None:
    script = "import subprocess; subprocess.Popen(['sleep', '20']); print('x is ready', flush=True)"

    async def play(supervisor: Supervisor) -> None:
        spec = dataclasses.replace(standin("x"), command=(sys.executable, "-c", script))
        child = Child(spec, output=heard.output)
        assert await child.end() == 0
        os.killpg(child.pid, signal.SIGKILL)

    _run(heard, play)
