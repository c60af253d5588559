from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, text

from portico import errors
from portico.context import entered, root
from portico.data import Database, Engine, constraint, translating
from portico.data.session import Session
from portico.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

    from portico.data import EmbeddedPostgres


@pytest.fixture(scope="module")
def url(database_url: URL) -> URL:
    engine = create_engine(database_url)
    with engine.begin() as session:
        session.execute(text("CREATE SCHEMA alpha"))
        session.execute(text("CREATE TABLE alpha.rows (id text CONSTRAINT rows_id_key UNIQUE)"))
        session.execute(text("CREATE TABLE alpha.parents (id text PRIMARY KEY)"))
        session.execute(
            text(
                "CREATE TABLE alpha.children (parent text REFERENCES alpha.parents "
                "DEFERRABLE INITIALLY DEFERRED)"
            )
        )
        session.execute(text("INSERT INTO alpha.parents VALUES ('p'), ('q')"))
    engine.dispose()
    return database_url


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    engine = Engine(url, pool_size=2, pool_timeout_seconds=0.05, lock_timeout_seconds=0.05)
    yield engine
    assert engine.in_use == 0
    engine.close()


@pytest.fixture
def alpha(engine: Engine) -> Database:
    return Database(engine, schema="alpha")


def in_seconds(seconds: float) -> float:
    return time.monotonic() + seconds


def shown(session: sa.Connection, setting: str) -> str:
    return str(session.execute(text(f"SHOW {setting}")).scalar())


class TestADeadline:
    @pytest.mark.parametrize("block", ["unit_of_work", "reading"])
    def test_cuts_a_statement(self, alpha: Database, block: str) -> None:
        with (
            pytest.raises(StatusError) as raised,
            entered(root(deadline=in_seconds(0.05))),
            getattr(alpha, block)() as session,
        ):
            session.execute(text("SELECT pg_sleep(30)"))
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert raised.value.reason == "DEADLINE_EXCEEDED"

    @pytest.mark.parametrize("block", ["unit_of_work", "reading"])
    def test_that_has_passed_refuses_before_anything_is_sent(
        self, alpha: Database, block: str
    ) -> None:
        with (
            pytest.raises(StatusError, match="DEADLINE_EXCEEDED"),
            entered(root(deadline=in_seconds(-1))),
            getattr(alpha, block)() as session,
        ):
            session.execute(text("SELECT 1"))

    def test_limits_all_statements_together(self, alpha: Database) -> None:
        with (
            pytest.raises(StatusError, match="DEADLINE_EXCEEDED"),
            entered(root(deadline=in_seconds(0.2))),
            alpha.unit_of_work() as session,
        ):
            for _ in range(1000):
                session.execute(text("SELECT pg_sleep(0.03)"))

    def test_that_passes_inside_the_block_prevents_the_commit(self, alpha: Database) -> None:
        with (
            pytest.raises(StatusError, match="DEADLINE_EXCEEDED"),
            entered(root(deadline=in_seconds(0.05))),
            alpha.unit_of_work() as session,
        ):
            session.execute(text("INSERT INTO alpha.rows VALUES ('late')"))
            time.sleep(0.06)
        with alpha.reading() as session:
            assert session.execute(text("SELECT count(*) FROM alpha.rows")).scalar() == 0

    def test_of_a_joined_call_is_the_nearer_one(self, alpha: Database) -> None:
        with (
            entered(root(deadline=in_seconds(60))) as outer,
            alpha.unit_of_work() as session,
        ):
            inner = root(deadline=in_seconds(0.05))
            inner.transaction = outer.transaction
            with (
                pytest.raises(StatusError, match="DEADLINE_EXCEEDED"),
                entered(inner),
                alpha.unit_of_work(),
            ):
                session.execute(text("SELECT pg_sleep(30)"))
            session.execute(text("SELECT pg_sleep(0.06)"))  # the outer one has its time again

    def test_of_a_joined_call_is_lifted_after_its_success(self, alpha: Database) -> None:
        with entered(root(deadline=in_seconds(60))) as outer, alpha.unit_of_work() as session:
            inner = root(deadline=in_seconds(4.9))
            inner.transaction = outer.transaction
            with entered(inner), alpha.reading() as same:
                same.execute(text("SELECT 1"))
                limited = shown(session, "statement_timeout")
            assert limited.endswith("ms")
            assert shown(session, "statement_timeout") != limited

    def test_of_a_joined_call_cannot_be_later(self, alpha: Database) -> None:
        with (
            pytest.raises(StatusError, match="DEADLINE_EXCEEDED"),
            entered(root(deadline=in_seconds(0.05))) as outer,
            alpha.unit_of_work() as session,
        ):
            inner = root(deadline=in_seconds(60))
            inner.transaction = outer.transaction
            with entered(inner), alpha.unit_of_work():
                session.execute(text("SELECT pg_sleep(30)"))

    def test_of_one_reading_does_not_stay_with_the_connection(self, engine: Engine) -> None:
        alpha = Database(engine, schema="alpha")
        with entered(root(deadline=in_seconds(0.02))), alpha.reading():
            pass
        with alpha.reading() as session:
            assert shown(session, "statement_timeout") == "1min"

    def test_in_steady_use_is_seldom_told_to_the_server(
        self, alpha: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[str] = []
        monkeypatch.setattr(Session, "send", lambda _, statements: sent.append(statements))
        for _ in range(50):
            with entered(root(deadline=in_seconds(30.95))), alpha.reading():
                pass
        assert len(sent) <= 1


class TestThePool:
    def test_refuses_when_all_are_busy_for_too_long(self, alpha: Database) -> None:
        with (
            alpha.unit_of_work(),
            entered(root()),
            alpha.unit_of_work(),
            entered(root()),
            pytest.raises(StatusError) as raised,
            alpha.reading(),
        ):
            pass
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raised.value.reason == "DATABASE_POOL_EXHAUSTED"
        assert raised.value.metadata == {"pool_size": "2"}

    def test_waits_no_longer_than_the_deadline(self, url: URL) -> None:
        engine = Engine(url, pool_size=1, pool_timeout_seconds=60)
        alpha = Database(engine, schema="alpha")
        with (
            alpha.unit_of_work(),
            entered(root(deadline=in_seconds(0.02))),
            pytest.raises(StatusError, match="DEADLINE_EXCEEDED"),
            alpha.reading(),
        ):
            pass
        engine.close()

    def test_serves_more_threads_than_it_has_connections(self, url: URL) -> None:
        engine = Engine(url, pool_size=2)
        alpha = Database(engine, schema="alpha")
        done: list[int] = []

        def work() -> None:
            for number in range(20):
                with alpha.unit_of_work() if number % 2 else alpha.reading() as session:
                    done.append(session.execute(text("SELECT 1")).scalar_one())

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(done) == 160
        engine.close()


class TestALostConnection:
    def test_of_the_pool_is_replaced_without_anyone_noticing(
        self, alpha: Database, url: URL
    ) -> None:
        with alpha.reading() as session:
            before = backend(session)
        terminate(url, before)
        with alpha.unit_of_work() as session:
            assert backend(session) != before

    def test_in_use_is_unavailable_and_the_next_one_works(self, alpha: Database, url: URL) -> None:
        with pytest.raises(StatusError) as raised, alpha.unit_of_work() as session:
            session.execute(text("INSERT INTO alpha.rows VALUES ('lost')"))
            terminate(url, backend(session))
            session.execute(text("SELECT 1"))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert raised.value.reason == "DATABASE_UNAVAILABLE"
        with alpha.reading() as session:
            assert session.execute(text("SELECT count(*) FROM alpha.rows")).scalar() == 0

    def test_at_the_commit_leaves_the_outcome_unknown(self, alpha: Database, url: URL) -> None:
        with pytest.raises(StatusError) as raised, alpha.unit_of_work() as session:
            session.execute(text("INSERT INTO alpha.rows VALUES ('lost')"))
            terminate(url, backend(session))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert raised.value.reason == "TRANSACTION_OUTCOME_UNKNOWN"

    def test_of_a_joined_block_is_unavailable_too(self, alpha: Database, url: URL) -> None:
        with (
            pytest.raises(StatusError, match="DATABASE_UNAVAILABLE"),
            alpha.unit_of_work() as outer,
            alpha.unit_of_work() as session,
        ):
            terminate(url, backend(outer))
            session.execute(text("SELECT 1"))

    def test_that_cannot_be_opened_is_unavailable(self, postgres: EmbeddedPostgres) -> None:
        engine = Engine(postgres.url.set(query={"host": "/nowhere"}))
        alpha = Database(engine, schema="alpha")
        with pytest.raises(StatusError, match="DATABASE_UNAVAILABLE"), alpha.reading():
            pass
        engine.close()


def backend(session: sa.Connection) -> int:
    return int(session.execute(text("SELECT pg_backend_pid()")).scalar_one())


def terminate(url: URL, pid: int) -> None:
    """Returns when the server process is gone."""
    engine = create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


class TestErrors:
    def test_a_deadlock_is_aborted(self, alpha: Database) -> None:
        barrier = threading.Barrier(2)
        failures: list[StatusError] = []

        def lock(first: str, second: str) -> None:
            try:
                with alpha.unit_of_work() as session:
                    session.execute(
                        text("SET LOCAL lock_timeout = 0; SET LOCAL deadlock_timeout = 10")
                    )
                    for key in (first, second):
                        query = text("SELECT id FROM alpha.parents WHERE id = :id FOR UPDATE")
                        session.execute(query, {"id": key})
                        if key == first:
                            barrier.wait(10)
            except StatusError as error:
                failures.append(error)

        threads = [threading.Thread(target=lock, args=keys) for keys in (("p", "q"), ("q", "p"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(each.code(), each.reason) for each in failures] == [
            (grpc.StatusCode.ABORTED, "DEADLOCK")
        ]

    def test_a_conflict_of_serializable_transactions_is_aborted(self, alpha: Database) -> None:
        def run() -> None:
            with alpha.unit_of_work() as session:
                session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                session.execute(text("SELECT 1 FROM alpha.parents"))
                with entered(root()), alpha.unit_of_work() as other:
                    other.execute(text("UPDATE alpha.parents SET id = id WHERE id = 'p'"))
                session.execute(text("UPDATE alpha.parents SET id = id WHERE id = 'p'"))

        with pytest.raises(StatusError, match="TRANSACTION_CONFLICT") as raised:
            run()
        assert raised.value.code() is grpc.StatusCode.ABORTED

    def test_a_lock_that_is_not_had_in_time_is_aborted(self, alpha: Database) -> None:
        lock = text("SELECT 1 FROM alpha.parents FOR UPDATE")
        with alpha.unit_of_work() as holder:
            holder.execute(lock)
            with (
                pytest.raises(StatusError, match="LOCK_TIMEOUT") as raised,
                entered(root()),
                alpha.unit_of_work() as session,
            ):
                session.execute(lock)
        assert raised.value.code() is grpc.StatusCode.ABORTED

    def test_a_broken_constraint_becomes_the_modules_own_error(self, alpha: Database) -> None:
        taken = {"rows_id_key": lambda: errors.already_exists("TAKEN", "it is taken")}
        insert = text("INSERT INTO alpha.rows VALUES ('twice')")
        with (
            pytest.raises(StatusError, match="TAKEN") as raised,
            alpha.unit_of_work() as session,
            translating(taken),
        ):
            session.execute(insert)
            session.execute(insert)
        assert isinstance(raised.value.__cause__, sa.exc.IntegrityError)

    def test_a_constraint_that_nobody_expected_passes_as_it_is(self, alpha: Database) -> None:
        insert = text("INSERT INTO alpha.rows VALUES ('twice')")
        with (
            pytest.raises(sa.exc.IntegrityError) as raised,
            alpha.unit_of_work() as session,
            translating({"another_key": lambda: errors.already_exists("TAKEN", "it is taken")}),
        ):
            session.execute(insert)
            session.execute(insert)
        assert constraint(raised.value) == "rows_id_key"

    def test_a_constraint_that_is_checked_at_the_commit_prevents_it(self, alpha: Database) -> None:
        with (
            pytest.raises(Exception, match="children_parent_fkey") as raised,
            alpha.unit_of_work() as session,
        ):
            session.execute(text("INSERT INTO alpha.children VALUES ('nobody')"))
        assert constraint(raised.value) == "children_parent_fkey"
        with alpha.reading() as session:
            assert session.execute(text("SELECT count(*) FROM alpha.children")).scalar() == 0

    def test_another_database_than_postgres_is_refused(self) -> None:
        with pytest.raises(ValueError, match="must be Postgres, not sqlite"):
            Engine("sqlite://")

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
    def test_any_postgres_url_is_accepted(self, url: URL, scheme: str) -> None:
        host = url.query["host"]
        engine = Engine(f"{scheme}://{url.username}@/{url.database}?host={host}")
        with Database(engine, schema="alpha").reading() as session:
            assert session.execute(text("SELECT 1")).scalar() == 1
        engine.close()
