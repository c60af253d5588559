from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, text

from portico.context import Call, StepMark, current, entered, root
from portico.data import Database, Engine, TransactionMisuseError, on_commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL, Connection

rows = sa.table("rows", sa.column("id"), schema="alpha")
others = sa.table("rows", sa.column("id"), schema="beta")


@pytest.fixture(scope="module")
def url(database_url: URL) -> URL:
    engine = create_engine(database_url)
    with engine.begin() as session:
        for schema in ("alpha", "beta"):
            session.execute(text(f"CREATE SCHEMA {schema}"))
            session.execute(
                text(
                    f"CREATE TABLE {schema}.rows (id text PRIMARY KEY DEFERRABLE INITIALLY IMMEDIATE)"
                )
            )
    engine.dispose()
    return database_url


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    engine = Engine(url, pool_size=4)
    with Database(engine, schema="alpha").unit_of_work() as session:
        session.execute(text("DELETE FROM alpha.rows"))
    with Database(engine, schema="beta").unit_of_work() as session:
        session.execute(text("DELETE FROM beta.rows"))
    yield engine
    assert engine.in_use == 0
    engine.close()


@pytest.fixture
def alpha(engine: Engine) -> Database:
    return Database(engine, schema="alpha")


@pytest.fixture
def beta(engine: Engine) -> Database:
    return Database(engine, schema="beta")


@pytest.fixture
def statements(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is sent to the server, transaction control included."""
    from portico.data.session import Session

    sent: list[str] = []
    send = Session.send

    def record(session: Session, statements: str) -> None:
        sent.append(statements)
        send(session, statements)

    monkeypatch.setattr(Session, "send", record)
    sa.event.listen(
        engine._sqlalchemy, "before_cursor_execute", lambda *a: sent.append(a[2].split()[0])
    )
    return sent


def insert(session: Connection, key: str, table: sa.TableClause = rows) -> None:
    session.execute(table.insert(), {"id": key})


def ids(database: Database) -> set[str]:
    with database.reading() as session:
        table = sa.table("rows", sa.column("id"), schema=database.schema)
        return set(session.execute(sa.select(table.c.id)).scalars())


class Oops(Exception):
    pass


def in_step(parent: Call, module: str) -> Call:
    call = Call(parent, parent.origin, "/step", module, parent.module, parent.deadline, ())
    call.transaction = parent.transaction
    call.step = StepMark("alpha", "1")
    return call


def test_what_a_unit_of_work_did_lasts(alpha: Database) -> None:
    with alpha.unit_of_work() as session:
        insert(session, "a")
    assert ids(alpha) == {"a"}


def test_a_unit_of_work_that_raises_leaves_nothing(alpha: Database) -> None:
    with pytest.raises(Oops), alpha.unit_of_work() as session:
        insert(session, "a")
        raise Oops
    assert ids(alpha) == set()


def test_two_modules_share_one_transaction_and_one_commit(
    alpha: Database, beta: Database, statements: list[str]
) -> None:
    with alpha.unit_of_work() as session:
        insert(session, "a")
        with beta.unit_of_work() as same:
            assert same is session
            insert(same, "b", others)
    assert ids(alpha) == {"a"}
    assert ids(beta) == {"b"}
    assert [each for each in statements if "COMMIT" in each] == ["COMMIT"]


def test_a_joined_unit_that_fails_undoes_its_own_work_alone(
    alpha: Database, beta: Database
) -> None:
    with alpha.unit_of_work() as session:
        insert(session, "a")
        with pytest.raises(Oops), beta.unit_of_work() as same:
            insert(same, "b", others)
            raise Oops
        insert(session, "c")
    assert ids(alpha) == {"a", "c"}
    assert ids(beta) == set()


def test_a_joined_unit_survives_its_own_broken_statement(alpha: Database, beta: Database) -> None:
    with alpha.unit_of_work() as session:
        insert(session, "a")
        with pytest.raises(sa.exc.IntegrityError), beta.unit_of_work() as same:
            insert(same, "b", others)
            insert(same, "b", others)
        insert(session, "c")
    assert ids(alpha) == {"a", "c"}
    assert ids(beta) == set()


def test_what_joined_is_undone_with_the_outer_unit(alpha: Database, beta: Database) -> None:
    with pytest.raises(Oops), alpha.unit_of_work():
        with beta.unit_of_work() as same:
            insert(same, "b", others)
        raise Oops
    assert ids(beta) == set()


def test_units_nest_as_deep_as_they_like(alpha: Database) -> None:
    def nest(depth: int) -> None:
        if depth < 6:
            try:
                with alpha.unit_of_work() as session:
                    insert(session, str(depth))
                    nest(depth + 1)
                    if depth == 3:
                        raise Oops
            except Oops:
                pass

    nest(0)
    assert ids(alpha) == {"0", "1", "2"}


def test_a_callee_finds_the_transaction_of_its_caller(alpha: Database, beta: Database) -> None:
    with entered(root(module="alpha")) as caller, alpha.unit_of_work() as session:
        callee = Call(caller, caller.origin, "/m", "beta", "alpha", None, ())
        callee.transaction = caller.transaction  # as the local channel does
        with entered(callee), beta.unit_of_work() as same:
            assert same is session
    assert caller.transaction is None


def test_a_transaction_is_not_found_after_its_end(alpha: Database) -> None:
    with entered(root(module="alpha")) as call:
        with alpha.unit_of_work():
            assert call.transaction is not None
        assert call.transaction is None
        with pytest.raises(Oops), alpha.unit_of_work():
            raise Oops
        assert call.transaction is None


def test_outside_a_call_blocks_find_each_other_and_no_call_is_left_behind(alpha: Database) -> None:
    outside = current()
    with alpha.unit_of_work() as session, alpha.unit_of_work() as same:
        assert same is session
        assert current() is current()
    assert current() is not outside
    assert current().transaction is None


def test_a_transaction_on_another_database_is_not_joined(alpha: Database, url: URL) -> None:
    elsewhere = Engine(url, pool_size=1)
    with (
        alpha.unit_of_work() as session,
        Database(elsewhere, schema="beta").unit_of_work() as other,
    ):
        assert other is not session
        with alpha.unit_of_work() as same:
            assert same is session
    elsewhere.close()


def test_another_thread_may_not_join(alpha: Database) -> None:
    refused: list[BaseException] = []

    def join(call: Call) -> None:
        try:
            with entered(call), alpha.unit_of_work():
                pass
        except TransactionMisuseError as error:
            refused.append(error)

    with entered(root()) as call, alpha.unit_of_work() as session:
        thread = threading.Thread(target=join, args=(call,))
        thread.start()
        thread.join()
        insert(session, "a")
    assert "thread" in str(refused[0])
    assert ids(alpha) == {"a"}


class TestInAWorkflowStep:
    def test_joining_sends_nothing(
        self, alpha: Database, beta: Database, statements: list[str]
    ) -> None:
        with entered(root(module="alpha")) as call, alpha.unit_of_work() as session:
            insert(session, "a")
            with entered(in_step(call, "beta")), beta.unit_of_work() as same:
                insert(same, "b", others)
        assert statements == ["BEGIN READ WRITE", "INSERT", "INSERT", "COMMIT"]

    def test_a_failure_dooms_the_whole(self, alpha: Database, beta: Database) -> None:
        def swallow(call: Call) -> None:
            with (
                entered(in_step(call, "beta")),
                pytest.raises(Oops),
                beta.unit_of_work() as session,
            ):
                insert(session, "b", others)
                raise Oops

        with (
            pytest.raises(TransactionMisuseError, match="beta failed with Oops"),
            entered(root(module="alpha")) as call,
            alpha.unit_of_work() as session,
        ):
            insert(session, "a")
            swallow(call)
        assert ids(alpha) == set()
        assert ids(beta) == set()

    def test_a_failure_that_leaves_the_workflow_is_the_one_that_is_seen(
        self, alpha: Database, beta: Database
    ) -> None:
        with (
            pytest.raises(Oops),
            entered(root(module="alpha")) as call,
            alpha.unit_of_work(),
            entered(in_step(call, "beta")),
            beta.unit_of_work(),
        ):
            raise Oops


class TestMisuse:
    def test_an_error_that_was_caught_inside_does_not_commit(self, alpha: Database) -> None:
        with (
            pytest.raises(TransactionMisuseError, match="caught there"),
            alpha.unit_of_work() as session,
        ):
            insert(session, "a")
            with pytest.raises(sa.exc.IntegrityError):
                insert(session, "a")
        assert ids(alpha) == set()

    def test_nor_is_it_kept_by_a_joined_unit(self, alpha: Database) -> None:
        with alpha.unit_of_work() as session:
            insert(session, "a")
            with (
                pytest.raises(TransactionMisuseError, match="caught there"),
                alpha.unit_of_work(),
                pytest.raises(sa.exc.IntegrityError),
            ):
                insert(session, "a")
        assert ids(alpha) == {"a"}

    @pytest.mark.parametrize("ending", ["commit", "rollback"])
    def test_a_module_does_not_end_the_transaction_itself(
        self, alpha: Database, ending: str
    ) -> None:
        with (
            pytest.raises(TransactionMisuseError, match="leave the block"),
            alpha.unit_of_work() as session,
        ):
            insert(session, "a")
            getattr(session, ending)()
        assert ids(alpha) == set()

    def test_a_module_may_set_savepoints_of_its_own(self, alpha: Database) -> None:
        with alpha.unit_of_work() as session:
            insert(session, "a")
            with pytest.raises(sa.exc.IntegrityError), session.begin_nested():
                insert(session, "a")
            insert(session, "b")
        assert ids(alpha) == {"a", "b"}


class TestAfterCommit:
    def test_callbacks_run_in_order_once_it_has_happened(self, alpha: Database) -> None:
        seen: list[set[str]] = []
        with alpha.unit_of_work() as session:
            insert(session, "a")
            on_commit(session, lambda: seen.append(ids(alpha)))
            with alpha.unit_of_work() as same:
                on_commit(same, lambda: seen.append({"second"}))
            assert seen == []
        assert seen == [{"a"}, {"second"}]

    def test_callbacks_do_not_run_after_a_rollback(self, alpha: Database) -> None:
        seen: list[str] = []
        with pytest.raises(Oops), alpha.unit_of_work() as session:
            on_commit(session, lambda: seen.append("ran"))
            raise Oops
        assert seen == []

    def test_callbacks_of_an_undone_part_do_not_run(self, alpha: Database) -> None:
        seen: list[str] = []
        with alpha.unit_of_work() as session:
            on_commit(session, lambda: seen.append("outer"))
            with pytest.raises(Oops), alpha.unit_of_work() as same:
                on_commit(same, lambda: seen.append("inner"))
                raise Oops
        assert seen == ["outer"]

    def test_a_callback_that_fails_does_not_stop_the_others(
        self, alpha: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[str] = []

        def fail() -> None:
            raise Oops

        callbacks: list[Callable[[], None]] = [fail, lambda: seen.append("ran")]
        with alpha.unit_of_work() as session:
            for callback in callbacks:
                on_commit(session, callback)
        assert seen == ["ran"]
        assert "the commit stands" in caplog.text

    def test_a_reading_has_no_commit(self, alpha: Database) -> None:
        with pytest.raises(TransactionMisuseError, match="only reads"), alpha.reading() as session:
            on_commit(session, lambda: None)


class TestReading:
    def test_it_sends_nothing_but_its_statements(
        self, alpha: Database, statements: list[str]
    ) -> None:
        with alpha.reading() as session:
            session.execute(sa.select(rows.c.id)).all()
        assert statements == ["SELECT"]

    def test_it_cannot_write(self, engine: Engine) -> None:
        engine.guard = None  # the server alone
        alpha = Database(engine, schema="alpha")
        with alpha.reading() as session, pytest.raises(sa.exc.InternalError, match="read-only"):
            insert(session, "a")

    def test_it_cannot_write_on_a_connection_that_has_written(self, url: URL) -> None:
        engine = Engine(url, pool_size=1, guard=False)
        alpha = Database(engine, schema="alpha")
        with alpha.unit_of_work() as session:
            insert(session, "w")
        with alpha.reading() as session, pytest.raises(sa.exc.InternalError, match="read-only"):
            insert(session, "x")
        engine.close()

    def test_inside_a_unit_of_work_it_sees_what_was_written_there(self, alpha: Database) -> None:
        with alpha.unit_of_work() as session:
            insert(session, "a")
            assert ids(alpha) == {"a"}

    def test_inside_a_unit_of_work_it_cannot_write_either(self, alpha: Database) -> None:
        with alpha.unit_of_work() as outer:
            with pytest.raises(RuntimeError, match="only reads"), alpha.reading() as session:
                insert(session, "a")
            insert(outer, "b")
        assert ids(alpha) == {"b"}

    def test_names_without_a_schema_mean_nothing(self, alpha: Database) -> None:
        with (
            alpha.reading() as session,
            pytest.raises(sa.exc.ProgrammingError, match="does not exist"),
        ):
            session.execute(text("SELECT * FROM rows"))
