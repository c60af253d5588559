"""``portico events`` on the database of an application."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, NullPool, create_engine

from emporium.app import application
from portico.cli import main
from portico.data import EmbeddedPostgres, migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
# Behind the two: one that waits, one that failed, one that has a module elsewhere to reach, one that never will.
UNDER_WAY = """
INSERT INTO orders.outbox (id, aggregatetype, aggregateid, type, payload, headers, occurred_at, attempts,
                           next_attempt_at, last_error, delivered_at)
VALUES ('0190d2c4-0000-7000-8000-000000000003', 'orders', 'ord_3', 'commerce.orders.v1.Odd', '', '{}', now(), 0,
        NULL, NULL, NULL),
       ('0190d2c4-0000-7000-8000-000000000004', 'orders', 'ord_4', 'commerce.orders.v1.Odd', '', '{}', now(), 2,
        '2026-11-20T12:00:00Z', 'it was odd', NULL),
       ('0190d2c4-0000-7000-8000-000000000005', 'orders', 'ord_5', 'commerce.orders.v1.Odd', '', '{}', now(), 0,
        NULL, NULL, now());
INSERT INTO orders.outbox_elsewhere (event_id, module, sequence, aggregatetype, aggregateid, attempts, dead_at,
                                     last_error, delivered_at)
SELECT id, onward.module, sequence, aggregatetype, aggregateid, onward.attempts, onward.dead_at, onward.last_error,
       onward.delivered_at
FROM orders.outbox, (VALUES ('inventory', 0, NULL, NULL, NULL), ('payments', 12, now(), 'no room', NULL),
                            ('users', 1, NULL, NULL, now())
     ) AS onward (module, attempts, dead_at, last_error, delivered_at)
WHERE aggregateid = 'ord_5'
"""


@pytest.fixture
def database(databases: Databases) -> Iterator[Engine]:
    """That of an application, with the two events."""
    owners = [module.name for module in application.modules if module.owns_data]
    url = databases.migrated(owners, folder=application.migrations)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as session:
        session.exec_driver_sql("TRUNCATE orders.outbox, orders.outbox_elsewhere")
        session.exec_driver_sql(EVENTS)
    yield engine
    engine.dispose()


@pytest.fixture
def run(
    database: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORTICO_DATABASE_URL", database.url.render_as_string(hide_password=False))
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
    assert said.startswith(f"{IDS[0]}  dead  ")
    assert "commerce.orders.v1.Odd of ord_1  attempts: 12  it was odd" in said
    assert run("replay", "--id", IDS[0]) == (0, "1 to be delivered again\n")
    assert run("list", "--dead") == (0, "no dead events\n")
    assert run("list")[1].startswith(f"{IDS[0]}  waiting  ")


def test_a_list_that_ends_at_its_limit_says_so(run: Run, database: Engine) -> None:
    with database.begin() as session:
        session.exec_driver_sql(UNDER_WAY)
    _, said = run("list", "--limit", "2")
    assert said.splitlines()[2:] == ["there may be more of orders than these 2: --limit"]
    assert "there may be more" not in run("list")[1]


def test_what_has_not_reached_everybody_is_listed_with_its_state(
    run: Run, database: Engine
) -> None:
    with database.begin() as session:
        session.exec_driver_sql(UNDER_WAY)

    code, said = run("list")

    assert code == 0
    told = [" ".join(line.split()[1:2] + line.split()[3:]) for line in said.splitlines()]
    odd = "commerce.orders.v1.Odd of"
    assert told == [
        f"dead {odd} ord_1 attempts: 12 it was odd",
        f"waiting {odd} ord_3",
        f"retrying {odd} ord_4 attempts: 2 next at 2026-11-20T12:00:00Z it was odd",
        f"waiting {odd} ord_5 for inventory",
        f"dead {odd} ord_5 for payments attempts: 12 no room",
    ]
    dead = [line.split()[0] for line in run("list", "--dead")[1].splitlines()]
    assert dead == [IDS[0], "0190d2c4-0000-7000-8000-000000000005"]
    assert run("list", "--type", "commerce.orders.v1.Even") == (0, "no undelivered events\n")


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


def test_the_embedded_database_of_a_program_that_runs_is_looked_at(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="portico-tests-"))
    folder.chmod(0o711)  # the user who runs Postgres may enter it
    monkeypatch.delenv("PORTICO_DATABASE_URL")
    monkeypatch.setenv("PORTICO_DATA_FOLDER", str(folder))
    owners = [module.name for module in application.modules if module.owns_data]
    try:
        with EmbeddedPostgres(folder / "postgres", fsync=False) as server:
            migrations.upgrade(server.url, owners, folder=application.migrations)
            engine = create_engine(server.url, poolclass=NullPool)
            with engine.begin() as session:
                session.exec_driver_sql(EVENTS)
            code, said = run("list")
            assert (code, said.split()[:2]) == (0, [IDS[0], "dead"])
    finally:
        shutil.rmtree(folder)


def test_a_topology_in_the_settings_asks_for_no_choice_of_a_process(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_TOPOLOGY", "apart")
    assert run("list", "--dead")[1].startswith(IDS[0])


def test_an_archive_that_cannot_be_written_is_named(run: Run) -> None:
    code, said = run("purge", "--older-than", "1", "--archive", "nowhere/file")
    assert code != 0
    assert "nowhere/file: No such file or directory" in said
