"""Statements of a traced call have spans below it, which tell nobody's data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import URL, create_engine, text

from portico.context import entered, root
from portico.data import Database, Engine
from portico.data.statement_spans import describe
from portico.errors import StatusError
from portico.lab import trace_tree
from portico.telemetry.export import open_tracer
from portico.telemetry.otel.tracer import Tracer

ROWS = sa.Table("rows", sa.MetaData(schema="alpha"), sa.Column("id", sa.Text, primary_key=True))


@pytest.fixture(scope="module")
def url(database_url: URL) -> URL:
    engine = create_engine(database_url)
    with engine.begin() as session:
        session.execute(text("CREATE SCHEMA alpha"))
        session.execute(text("CREATE TABLE alpha.rows (id text CONSTRAINT rows_id_key UNIQUE)"))
    engine.dispose()
    return database_url


@pytest.fixture
def alpha(url: URL) -> Iterator[Database]:
    engine = Engine(url, pool_size=2)
    engine.trace()
    yield Database(engine, schema="alpha")
    engine.close()


@pytest.fixture
def tracer(tmp_path: Path) -> Iterator[Tracer]:
    tracer = open_tracer(application="test", file=tmp_path / "spans.jsonl")
    assert tracer is not None
    yield tracer
    tracer.close()


@pytest.fixture
def spans(tracer: Tracer, tmp_path: Path) -> _Spans:
    return _Spans(tracer, tmp_path / "spans.jsonl")


class _Spans:
    def __init__(self, tracer: Tracer, file: Path) -> None:
        self._tracer = tracer
        self._file = file

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call that is traced."""
        with entered(root(module="alpha")) as call, self._tracer.reaction(call, {}):
            yield

    def below(self) -> list[trace_tree.Span]:
        """The spans below that of the call."""
        assert self._tracer.flush()
        ((top,),) = trace_tree.trees(trace_tree.read(self._file)).values()
        return top.below


def test_each_statement_has_a_span_below_its_call(alpha: Database, spans: _Spans) -> None:
    with spans.call():
        with alpha.unit_of_work() as session:
            session.execute(ROWS.insert().values(id="secret"))
            session.execute(ROWS.delete().where(ROWS.c.id == "secret"))
        with alpha.reading() as session:
            session.execute(sa.select(ROWS))

    names = ["INSERT alpha.rows", "DELETE alpha.rows", "SELECT alpha.rows"]
    found = spans.below()
    assert [span.name for span in found] == names
    assert {span.kind for span in found} == {"CLIENT"}
    assert [span.attributes["db.operation"] for span in found] == ["INSERT", "DELETE", "SELECT"]
    for span in found:
        assert span.attributes["db.system"] == "postgresql"
        assert (span.attributes["db.name"], span.attributes["db.sql.table"]) == ("alpha", "rows")
        assert "secret" not in str(span)


def test_a_statement_that_fails_says_so_without_the_row(alpha: Database, spans: _Spans) -> None:
    with spans.call(), pytest.raises(sa.exc.IntegrityError), alpha.unit_of_work() as session:
        session.execute(ROWS.insert().values(id="secret"))
        session.execute(ROWS.insert().values(id="secret"))

    first, second = spans.below()
    assert (first.status, second.status) == ("UNSET", "ERROR")
    assert "secret" not in str(second)


def test_a_statement_that_is_refused_before_it_is_sent_has_no_span(
    alpha: Database, spans: _Spans
) -> None:
    with spans.call(), pytest.raises((StatusError, RuntimeError)), alpha.reading() as session:
        session.execute(ROWS.insert().values(id="x"))

    assert spans.below() == []


def test_nothing_is_traced_outside_a_traced_call(alpha: Database, spans: _Spans) -> None:
    with alpha.reading() as session:
        session.execute(sa.select(ROWS))
    with spans.call():
        pass

    assert spans.below() == []


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("SELECT id FROM alpha.rows", "SELECT alpha.rows"),
        ('select id from "alpha"."rows" for update', "SELECT alpha.rows"),
        (
            "WITH due AS (SELECT id FROM alpha.rows) UPDATE alpha.other SET a = 1",
            "UPDATE alpha.other",
        ),
        ("INSERT INTO alpha.rows (id) SELECT id FROM alpha.other", "INSERT alpha.rows"),
        ("SELECT id FROM alpha.rows WHERE a = (SELECT 1) FOR UPDATE OF rows", "SELECT alpha.rows"),
        ("MERGE INTO alpha.rows AS r USING alpha.other ON true", "MERGE alpha.rows"),
        ("UPDATE alpha.rows SET id = %(id)s", "UPDATE alpha.rows"),
        ("DELETE FROM ONLY alpha.rows", "DELETE alpha.rows"),
        ("SELECT 1", "SELECT"),
    ],
)
def test_a_span_is_called_after_verb_and_table(statement: str, name: str) -> None:
    described = describe(statement)
    assert described is not None
    assert described[0] == name


@pytest.mark.parametrize(
    "statement",
    [
        'INSERT INTO "alpha".outbox (id) VALUES (1)',
        'SELECT EXISTS (SELECT FROM "alpha".inbox)',
        'UPDATE "alpha".workflow_runs SET step = 1',
        "SET LOCAL statement_timeout = 5",
        "SAVEPOINT u1",
    ],
)
def test_the_kernels_own_statements_have_no_span(statement: str) -> None:
    assert describe(statement) is None


def test_texts_in_a_statement_are_left_out() -> None:
    described = describe("SELECT id FROM alpha.rows WHERE name = 'O''Neil' AND a = %(a)s")
    assert described is not None
    assert "Neil" not in str(described)
