"""A topology whose events go by Redis: what it needs, and what the command line says of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from emporium.app import application as emporium
from portico import Program
from portico.cli import main
from portico.placement import Placement
from portico.settings import SettingsError

SECRET = "a secret of sixteen characters or more"
APART = """
[processes.shop]
modules = ["*"]
front = true
[processes.payments]
modules = ["payments"]
"""
COMMANDS = {
    "serve": ("serve", "--topology", "by-redis.toml", "--process", "payments"),
    "workers": ("serve", "--topology", "by-redis.toml", "--process", "payments", "--workers", "2"),
    "up": ("up", "by-redis.toml"),
    "worker": ("worker", "--topology", "by-redis.toml", "--process", "payments"),
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: the same topology twice, and what serving them needs, but for a Redis."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for variable in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PORTICO_APP", "emporium.app:application")
    monkeypatch.setenv("PORTICO_DEMO", "true")
    monkeypatch.setenv("PORTICO_HOP_SECRET", SECRET)
    monkeypatch.setenv("PORTICO_ADDRESSES", '{"shop": "127.0.0.1:1", "payments": "127.0.0.1:2"}')
    (tmp_path / "by-calls.toml").write_text(APART)
    (tmp_path / "by-redis.toml").write_text(f'events = "redis"\n{APART}')
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["portico", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("url", ["", "http://127.0.0.1:6379"])
def test_it_is_refused_without_a_redis_before_anything_starts(
    command: str,
    url: str,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if url:
        monkeypatch.setenv("REDIS_URL", url)
    assert run(monkeypatch, *COMMANDS[command]) == 1
    told = capsys.readouterr().err
    expected = "redis_url is no address of a Redis" if url else "redis_url is required"
    assert told.startswith(f"portico: {expected}")
    assert "Traceback" not in told
    assert sorted(path.name for path in files.iterdir()) == ["by-calls.toml", "by-redis.toml"]


def test_an_address_that_the_driver_cannot_use_is_refused_when_a_process_starts(
    files: Path,
) -> None:
    with pytest.raises(SettingsError, match="redis_url is no address of a Redis"):
        Program(emporium, settings(files, redis_url="redis://127.0.0.1:many"))._deliveries()


def test_no_redis_is_needed_for_calls_nor_where_all_modules_are_together(files: Path) -> None:
    Placement.chosen(emporium, settings(files, topology=files / "by-calls.toml"))
    together = files / "together.toml"
    together.write_text('events = "redis"\n[processes.app]\nmodules = ["*"]\nfront = true\n')
    Placement.chosen(emporium, settings(files, topology=together, process="app"))


def settings(files: Path, **others: Any) -> Any:
    chosen = {"topology": files / "by-redis.toml", "process": "payments", **others}
    return emporium.settings_class().load(chosen=chosen)


def test_a_topology_is_shown_with_what_takes_its_events(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "topology", "show", "by-redis.toml") == 0
    assert "events: over the network, by Redis Streams" in capsys.readouterr().out
    assert run(monkeypatch, "topology", "show", "by-calls.toml") == 0
    assert "events: over the network, by calls of the other process" in capsys.readouterr().out
    assert run(monkeypatch, "topology", "show", "monolith") == 0
    assert "events: over" not in capsys.readouterr().out


def test_a_difference_tells_that_events_go_another_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "topology", "diff", "by-calls.toml", "by-redis.toml") == 0
    assert "events: rpc -> redis" in capsys.readouterr().out
    assert run(monkeypatch, "topology", "diff", "by-redis.toml", "by-calls.toml") == 0
    assert "events: redis -> rpc" in capsys.readouterr().out
