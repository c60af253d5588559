"""``portico workflow``: what it prints, on the database of the settings, with no server running."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import URL, NullPool, create_engine

from portico.cli import main

APP = ("--app", "emporium.app:application")
BEGUN = """
INSERT INTO orders.workflow_runs (id, name, version, key, subject, input, state, headers, direction, status, step,
                                  attempts, last_error, owner, lease_until, created_at, updated_at)
VALUES (%(id)s, 'orders.cancel_order', 1, %(key)s, 'ord_1', %(state)s, %(state)s, %(headers)s, 'FORWARD', 'DEAD',
        1, 100, 'StatusError: no room', '', now(), now(), now())
"""
HEADERS = {"request_id": "r", "trace_id": "0" * 31 + "1", "span_id": "", "subject": "", "roles": []}


@pytest.fixture(autouse=True)
def settings(database_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("REDIS_URL", raising=False)
    url = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["portico", *arguments])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture
def run_id(database_url: URL, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """A dead run in the log of orders."""
    assert run(monkeypatch, "migrate", *APP) == 0
    new = uuid4()
    state = json.dumps({"order_id": "ord_1", "note": "tea for Ada"})
    row = {"id": new, "key": str(new), "state": state, "headers": json.dumps(HEADERS)}
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(BEGUN, row)
    return new


def test_runs_are_listed_shown_and_changed(
    run_id: UUID, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> str:
        capsys.readouterr()
        assert run(monkeypatch, "workflow", *APP, *arguments) == 0
        return capsys.readouterr().out

    assert f"{run_id}  DEAD     orders.cancel_order v1  1/" in said("list", "--status", "dead")
    assert said("list", "--module", "auth") == "no runs\n"
    assert said("list", "--older-than", "3600") == "no runs\n"
    shown = said("inspect", str(run_id))
    assert json.loads(shown)["last_error"] == "StatusError"
    assert "Ada" not in shown
    assert "tea for Ada" in said("inspect", str(run_id), "--reveal")
    assert "RUNNING" in said("retry", str(run_id))
    assert run(monkeypatch, "workflow", *APP, "cancel", str(run_id)) == 1
    assert "RUN_PAST_PIVOT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["inspect", str(UUID(int=1))], "RUN_NOT_FOUND"),
        (["list", "--module", "mill"], "MODULE_NOT_FOUND"),
        (["list", "--status", "asleep"], "asleep is none of RUNNING"),
        (["fork", str(UUID(int=1)), "--key", "k", "--set", "price"], "price is not FIELD=JSON"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    run_id: UUID,
    command: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert run(monkeypatch, "workflow", *APP, *command) != 0
    assert expected in capsys.readouterr().err
