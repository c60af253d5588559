"""``portico events`` on the database of an application."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import NullPool, create_engine

from emporium.app import application
from portico.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from portico.testing.servers import Databases

    Run = Callable[..., tuple[int, str]]

IDS = [f"0190d2c4-0000-7000-8000-00000000000{number}" for number in (1, 2)]
# Nobody reacts to the type, so it is the table alone that counts here.
EVENTS = f"""
INSERT INTO orders.outbox (id, aggregatetype, aggregateid, type, payload, headers, occurred_at, dead_at, attempts,
                           last_error, delivered_at)
VALUES ('{IDS[0]}', 'orders', 'ord_1', 'commerce.orders.v1.Odd', '', '{{}}', now(), now(), 12, 'it was odd', NULL),
       ('{IDS[1]}', 'orders', 'ord_2', 'commerce.orders.v1.Odd', '', '{{}}', now(), NULL, 0, NULL,
        now() - interval '3 days')
"""


@pytest.fixture
def run(
    databases: Databases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    owners = [module.name for module in application.modules if module.owns_data]
    url = databases.migrated(owners, folder=application.migrations)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as session:
        session.exec_driver_sql("TRUNCATE orders.outbox")
        session.exec_driver_sql(EVENTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORTICO_DATABASE_URL", url.render_as_string(hide_password=False))
    monkeypatch.setenv("PORTICO_APP", "emporium.app:application")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["portico", "events", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def test_a_dead_event_is_listed_and_delivered_again(run: Run) -> None:
    code, said = run("list", "--dead")
    assert code == 0
    assert said.startswith(IDS[0])
    assert "commerce.orders.v1.Odd of ord_1  attempts: 12  it was odd" in said
    assert run("replay", "--id", IDS[0]) == (0, "1 to be delivered again\n")
    assert run("list") == (0, "no dead events\n")


def test_a_replay_says_which_and_to_whom(run: Run) -> None:
    assert run("replay")[0] == 2
    code, said = run("replay", "--since", "2026-01-01", "--consumer", "orders.Nobody.at_all")
    assert code == 1
    assert "no consumer orders.Nobody.at_all here" in said


def test_what_has_arrived_is_archived_and_removed(run: Run, tmp_path: Path) -> None:
    assert run("purge", "--older-than", "4") == (0, "0 removed\n")
    assert run("purge", "--older-than", "2", "--archive", "old.jsonl") == (0, "1 removed\n")
    (line,) = (tmp_path / "old.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == IDS[1]


def test_inboxes_must_remember_what_outboxes_keep(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_INBOX_KEEP_DAYS", "1")
    code, said = run("list")
    assert code == 1
    assert "inbox_keep_days is less than events_keep_days" in said
