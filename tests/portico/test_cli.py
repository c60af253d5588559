"""What the command line says: to a person, in a sentence, without a traceback."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from portico.cli import main

EMPORIUM = "emporium.app:application"


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for variable in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(variable, raising=False)


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["portico", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "serve",
        "worker",
        "migrate",
        "migration",
        "check",
        "check split",
        "settings",
        "routes",
        "events list",
        "events replay",
        "events purge",
        "workflow list",
        "lab hop",
        "lab throughput",
    ],
)
def test_every_command_explains_itself(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, *command.split(), "--help") == 0
    assert "Usage" in capsys.readouterr().out


def test_check_tells_each_module_and_that_all_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "check", "--app", EMPORIUM) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [
        *("users", "auth", "catalog", "inventory", "payments", "orders")
    ]
    assert lines[-1] == "emporium fits together"


def test_check_finds_a_module_without_migrations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = (
        "from portico import Application, Module\n"
        "broken = Application(name='broken', modules=[Module(name='stock', owns_data=True)])\n"
    )
    (tmp_path / "planted_application.py").write_text(source)
    assert _run(monkeypatch, "check", "--app", "planted_application:broken") == 1
    assert "module stock owns data but has no migrations" in capsys.readouterr().out


def test_settings_are_listed_with_their_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "settings", "--app", EMPORIUM) == 0
    said = capsys.readouterr().out
    assert "grpc_port  (PORTICO_GRPC_PORT, 50051)" in said
    assert "PORTICO_AUTH__ISSUER" in said


def test_routes_are_listed_with_their_rpcs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "routes", "--app", EMPORIUM) == 0
    said = capsys.readouterr().out
    assert "POST    /api/v1/orders  OrdersService.PlaceOrder" in said


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ("emporium", "does not say which attribute: write emporium:application"),
        ("nowhere.at_all:application", "No module named 'nowhere'"),
        ("emporium.app:nothing", "has no attribute 'nothing'"),
        ("emporium.app:Path", "is a type, not an Application"),
    ],
)
def test_a_wrong_application_is_told_in_a_line(
    app: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _run(monkeypatch, "check", "--app", app) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_a_mistake_inside_the_application_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "planted_mistake.py").write_text("\nimport grpcc_is_not_there\n")
    assert _run(monkeypatch, "check", "--app", "planted_mistake:application") == 1
    assert "planted_mistake.py:2" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "migrate", "worker"])
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://me:hush@127.0.0.1:{port}/shop", "127.0.0.1:{port}/shop cannot be used"),
        ("mysql://127.0.0.1/shop", "must be Postgres, not mysql"),
        ("not an address", "database_url is no address of a Postgres"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_a_line_without_its_password(
    command: str,
    url: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        port = nobody.getsockname()[1]
        monkeypatch.setenv("PORTICO_DATABASE_URL", url.format(port=port))
        monkeypatch.setenv("PORTICO_GRPC_PORT", "0")
        monkeypatch.setenv("PORTICO_HTTP_PORT", "0")
        monkeypatch.setenv("PORTICO_LOG_LEVEL", "error")
        assert _run(monkeypatch, command, "--app", EMPORIUM) == 1
    said = capsys.readouterr().err
    assert sentence.format(port=port) in said
    assert "hush" not in said
    assert "Traceback" not in said


def test_a_taken_port_is_told_with_the_setting_that_chooses_another(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("PORTICO_GRPC_PORT", str(port))
        assert _run(monkeypatch, "serve", "--app", EMPORIUM) == 1
    said = capsys.readouterr().err
    assert f"gRPC cannot listen on 127.0.0.1:{port}" in said
    assert "grpc_port" in said


def test_an_application_without_data_has_nothing_to_migrate_and_starts_no_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = "from portico import Application\nbare = Application(name='bare', modules=[])\n"
    (tmp_path / "planted_bare.py").write_text(source)
    assert _run(monkeypatch, "migrate", "--app", "planted_bare:bare") == 0
    assert capsys.readouterr().out == "up to date\n"
    assert not (tmp_path / ".portico").exists()


def test_a_migration_is_begun_for_a_module_that_owns_data_and_for_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = (
        "from portico import Application, Module\n"
        "shop = Application(name='shop', modules=[Module(name='stock', owns_data=True)])\n"
    )
    (tmp_path / "planted_shop.py").write_text(source)
    command = "migration", "stock", "First tables", "--app", "planted_shop:shop"
    assert _run(monkeypatch, *command) == 0
    written = Path(capsys.readouterr().out.strip())
    assert written == Path("migrations/stock/versions/0001_first_tables.py")
    assert "def upgrade()" in written.read_text()

    assert _run(monkeypatch, "migration", "moon", "None", "--app", "planted_shop:shop") == 1
    assert "shop has no module moon that owns data" in capsys.readouterr().err


def test_the_version_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("portico ")
