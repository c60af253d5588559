"""The laboratory of events: a small run of it, and what it calls wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import NullPool, create_engine

from portico.lab import events
from portico.lab.outbox import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import URL, Connection

OUTBOX = """
INSERT INTO sender.outbox (id, aggregatetype, aggregateid, type, payload, headers, occurred_at, delivered_at)
SELECT gen_random_uuid(), 'sender', 'a1', 't', '', '{}', now(), now() FROM generate_series(1, 3)
"""
ONWARD = """
INSERT INTO sender.outbox_elsewhere (event_id, module, sequence, aggregatetype, aggregateid, delivered_at)
SELECT id, 'receiver', sequence, 'sender', 'a1', now() FROM sender.outbox
"""
EFFECTS = """
INSERT INTO receiver.effects (aggregate, number, waited_ms) SELECT 'a1', n, 1 FROM unnest(ARRAY[1, 2, 3]) AS n
"""
LATE = """
INSERT INTO sender.latecomers (aggregate, first, last, overtaken_by) VALUES ('a1', 2, 3, 7), ('a1', 1, 1, 0)
"""


@pytest.mark.parametrize("transport", ["rpc", "redis"])
def test_events_reach_their_effect_while_processes_are_killed(
    transport: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.json"
    assert events.main(file, transport=transport, events=200, rate_seconds=0.5) == 0
    found = json.loads(file.read_text())
    assert found["transport"] == transport
    assert sum(found["kills"].values()) > 0
    assert found["violations"] == []
    assert "each effect is there, once, in order" in capsys.readouterr().out


@pytest.fixture
def delivered(database_url: URL) -> Iterator[Connection]:
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.begin() as session:
        tables.create(_Operations(session))
        session.exec_driver_sql("UPDATE sender.aggregates SET last = 3 WHERE name = 'a1'")
        for statement in (OUTBOX, ONWARD, EFFECTS, LATE):
            session.exec_driver_sql(statement)
        yield session
        session.rollback()


class _Operations:
    def __init__(self, session: Connection) -> None:
        self._session = session

    def execute(self, sqltext: str) -> None:
        self._session.exec_driver_sql(sqltext)


def counting(session: Connection) -> Callable[[str], int]:
    return lambda statement: session.exec_driver_sql(statement).scalar_one()


def test_what_was_delivered_once_and_in_order_is_right(delivered: Connection) -> None:
    count = counting(delivered)
    assert tables.violations(count) == []
    assert tables.are_all_delivered(count)


def test_transactions_that_were_overtaken_are_counted_with_their_events(
    delivered: Connection,
) -> None:
    found = tables.latecomers(lambda statement: list(delivered.exec_driver_sql(statement)))
    assert found == {"transactions": 1, "events": 2, "arrived": 2, "overtaken_by": 7}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("UPDATE sender.outbox SET delivered_at = NULL WHERE sequence = 1", "not delivered"),
        ("UPDATE sender.outbox_elsewhere SET delivered_at = NULL", "not delivered"),
        ("DELETE FROM sender.outbox_elsewhere", "not delivered"),
        ("DELETE FROM receiver.effects WHERE number = 3", "events have no effect"),
        (
            "DELETE FROM receiver.effects WHERE number = 2",
            "1 events of transactions that committed last have no effect",
        ),
        (
            "INSERT INTO receiver.effects (aggregate, number, waited_ms) VALUES ('a1', 3, 1)",
            "happened more than once",
        ),
        ("UPDATE receiver.effects SET number = 5 - number WHERE number > 1", "came before that"),
    ],
)
def test_a_planted_fault_is_found(delivered: Connection, fault: str, told: str) -> None:
    if "sequence = 1" in fault:
        fault = fault.replace("= 1", "= (SELECT min(sequence) FROM sender.outbox)")
    delivered.exec_driver_sql(fault)
    assert told in " ".join(tables.violations(counting(delivered)))
