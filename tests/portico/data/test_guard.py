from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from portico.data import Database, Engine, ForeignTableError
from portico.data.guard import TableGuard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL


@pytest.fixture
def guard() -> TableGuard:
    return guard_of("orders", "payments", "Über")


def guard_of(*schemas: str) -> TableGuard:
    guard = TableGuard()
    for schema in schemas:
        guard.protect(schema)
    return guard


PLANTED = [
    "SELECT * FROM payments.charges",
    "select * from PAYMENTS.Charges",
    'SELECT * FROM "payments"."charges"',
    'SELECT * FROM "payments".charges',
    "SELECT * FROM payments . charges",
    "SELECT * FROM payments\n.\tcharges",
    "SELECT * FROM payments/* here */./* and here */charges",
    "SELECT * FROM payments -- a remark\n.charges",
    "SELECT * FROM ONLY payments.charges",
    "SELECT 1 FROM orders.orders, payments.charges",
    "SELECT 1 FROM orders.orders o JOIN payments.charges c ON c.id = o.id",
    "WITH c AS (SELECT * FROM payments.charges) SELECT * FROM c",
    "WITH gone AS (DELETE FROM payments.charges RETURNING id) SELECT id FROM gone",
    "SELECT 1 WHERE EXISTS (SELECT FROM payments.charges)",
    "SELECT (SELECT max(amount) FROM payments.charges)",
    "INSERT INTO payments.charges (id) VALUES (%(id)s)",
    "INSERT INTO orders.orders SELECT * FROM payments.charges",
    "UPDATE payments.charges SET amount = 0",
    "UPDATE orders.orders SET id = c.id FROM payments.charges c",
    "DELETE FROM orders.orders USING payments.charges c WHERE c.id = orders.id",
    "MERGE INTO payments.charges c USING orders.orders o ON c.id = o.id WHEN MATCHED THEN DELETE",
    "TRUNCATE payments.charges",
    "SELECT payments.total(1)",
    "SELECT payments.charges.amount FROM payments.charges",
    "COPY payments.charges TO STDOUT",
    "TABLE payments.charges",
    "SELECT 'it''s' FROM payments.charges",
    r"SELECT E'it\'s', 1 FROM payments.charges",
    "SELECT $$ ' $$, 1 FROM payments.charges",
    "SELECT $tag$ $$ ' $tag$, 1 FROM payments.charges",
    "SELECT /* a /* nested */ comment */ 1 FROM payments.charges",
    "SELECT -- 'a remark\n 1 FROM payments.charges",
    'SELECT "a""b", 1 FROM payments.charges',
    "SELECT 1; SELECT * FROM payments.charges",
    "SELECT x'1F', 1 FROM payments.charges",
    "SELECT %(a)s::text FROM payments.charges",
    "SELECT a[1] FROM payments.charges",
    'SELECT * FROM "Über".table',
]

IN_ORDER = [
    "SELECT * FROM orders.orders",
    'SELECT * FROM "orders".orders',
    "SELECT orders.orders.id, o.payments FROM orders.orders AS o",
    "SELECT * FROM orders.payments",
    "SELECT orders.payments.id FROM orders.payments",
    "SELECT 'payments.charges'",
    "SELECT 'it''s payments.charges'",
    r"SELECT E'\'payments.charges'",
    "SELECT $$payments.charges$$, $a$ $$ payments.charges $a$",
    "SELECT 1 -- payments.charges",
    "SELECT 1 /* payments.charges /* payments.charges */ payments.charges */",
    'SELECT * FROM orders."payments.charges"',
    "SELECT payments FROM orders.orders",
    "SELECT count(*) AS payments FROM orders.orders",
    'SELECT * FROM "Payments".charges',  # quoted names keep their case: another schema
    "SELECT * FROM orders.orders WHERE total > 1.5 AND id = %(payments)s",
    "SELECT pg_catalog.now(), information_schema.tables.table_name FROM information_schema.tables",
    "SELECT 1.payments",
    "INSERT INTO orders.orders (start, commit) VALUES (1, 2)",
    "ROLLBACK TO SAVEPOINT sa_savepoint_1",
    "RELEASE SAVEPOINT sa_savepoint_1",
    "SAVEPOINT sa_savepoint_1",
    "SET LOCAL work_mem = '64MB'",
    "SET CONSTRAINTS ALL DEFERRED",
    "SELECT * FROM über.table",
]

CONTROL = [
    "COMMIT",
    "  commit work",
    "/* well */ ROLLBACK",
    "END",
    "ABORT",
    "BEGIN",
    "START TRANSACTION",
    "PREPARE TRANSACTION 'x'",
    "SELECT 1; COMMIT",
    "SET search_path = payments",
    "SET SESSION default_transaction_read_only = off",
    "RESET ALL",
    "DISCARD ALL",
    "DO $$ BEGIN DELETE FROM payments.charges; END $$",
]

WRITES = [
    "INSERT INTO orders.orders (id) VALUES (1)",
    "update orders.orders set id = 1",
    "DELETE FROM orders.orders",
    "TRUNCATE orders.orders",
    "CREATE TABLE orders.x (id int)",
    "WITH gone AS (DELETE FROM orders.orders RETURNING id) SELECT id FROM gone",
]


@pytest.mark.parametrize("statement", PLANTED)
def test_a_statement_on_another_modules_schema_is_refused(
    guard: TableGuard, statement: str
) -> None:
    with pytest.raises(ForeignTableError, match=r"module orders names the schema (payments|Über)"):
        guard.check(statement, schema="orders", read_only=False)


@pytest.mark.parametrize("statement", PLANTED)
def test_a_refused_statement_is_refused_again(guard: TableGuard, statement: str) -> None:
    for _ in range(2):
        with pytest.raises(ForeignTableError):
            guard.check(statement, schema="orders", read_only=False)


@pytest.mark.parametrize("statement", IN_ORDER)
def test_a_statement_of_ones_own_passes(guard: TableGuard, statement: str) -> None:
    for _ in range(2):
        guard.check(statement, schema="orders", read_only=False)


@pytest.mark.parametrize("statement", CONTROL)
def test_transactions_and_sessions_are_not_the_modules(guard: TableGuard, statement: str) -> None:
    with pytest.raises(ForeignTableError):
        guard.check(statement, schema="orders", read_only=False)


@pytest.mark.parametrize("statement", WRITES)
def test_a_reading_does_not_write(guard: TableGuard, statement: str) -> None:
    guard.check(statement, schema="orders", read_only=False)
    with pytest.raises(ForeignTableError, match="only reads"):
        guard.check(statement, schema="orders", read_only=True)


def test_what_passed_for_one_module_is_checked_for_the_next(guard: TableGuard) -> None:
    guard.check("SELECT * FROM payments.charges", schema="payments", read_only=True)
    with pytest.raises(ForeignTableError):
        guard.check("SELECT * FROM payments.charges", schema="orders", read_only=True)


def test_what_passed_before_a_schema_was_known_is_checked_again() -> None:
    guard = guard_of("orders")
    guard.check("SELECT * FROM payments.charges", schema="orders", read_only=True)
    guard.protect("payments")
    with pytest.raises(ForeignTableError):
        guard.check("SELECT * FROM payments.charges", schema="orders", read_only=True)


def test_it_does_not_remember_without_limit(guard: TableGuard) -> None:
    for number in range(5000):
        guard.check(f"SELECT {number}", schema="orders", read_only=True)
    assert len(guard._passed) <= 2000


_HARMLESS = st.sampled_from(
    [
        "'x'", "'it''s'", "E'\\''", "$$ y $$", "$q$ ' $q$", "/* c */", "/* /* n */ */", "-- r\n",
        '"a"', '"a""b"', "1", "1.5", "a", "a.b", "(", ")", ",", "::", "%(p)s", "%s", "\n", "=",
    ]
)  # fmt: skip


@given(before=st.lists(_HARMLESS, max_size=8), after=st.lists(_HARMLESS, max_size=8))
def test_nothing_around_a_foreign_table_hides_it(before: list[str], after: list[str]) -> None:
    statement = " ".join(["SELECT", *before, "payments.charges", *after])
    with pytest.raises(ForeignTableError):
        guard_of("orders", "payments").check(statement, schema="orders", read_only=True)


@given(parts=st.lists(_HARMLESS, max_size=12))
def test_nothing_harmless_is_taken_for_a_foreign_table(parts: list[str]) -> None:
    statement = " ".join(["SELECT", *parts])
    guard_of("orders", "payments").check(statement, schema="orders", read_only=True)


@given(statement=st.text(alphabet="'\"$/*-a.; \n\\EB", max_size=40))
def test_no_text_confuses_it(statement: str) -> None:
    guard_of("orders").check(f"SELECT {statement}", schema="orders", read_only=True)


@pytest.fixture
def engine(database_url: URL) -> Iterator[Engine]:
    engine = Engine(database_url, pool_size=1)
    yield engine
    engine.close()


def test_a_planted_query_of_a_module_never_reaches_the_server(engine: Engine) -> None:
    orders = Database(engine, schema="orders")
    Database(engine, schema="payments")
    query = text("SELECT * FROM payments.nowhere")  # the server would say that it does not exist
    with (
        orders.reading() as session,
        pytest.raises(ForeignTableError, match="only module payments"),
    ):
        session.execute(query)
    with pytest.raises(ForeignTableError), orders.unit_of_work() as session:
        session.execute(query)


def test_a_joined_module_is_held_to_its_own_schema(engine: Engine) -> None:
    orders = Database(engine, schema="orders")
    payments = Database(engine, schema="payments")
    foreign, own = text("SELECT 'orders.x', payments.f()"), text("SELECT 1 AS orders")
    with orders.unit_of_work() as session:
        with payments.unit_of_work() as same:
            same.execute(own)
            with pytest.raises(ForeignTableError, match="module payments names the schema orders"):
                same.execute(text("SELECT orders.f()"))
        with pytest.raises(ForeignTableError, match="module orders names the schema payments"):
            session.execute(foreign)


def test_it_can_be_switched_off(database_url: URL) -> None:
    engine = Engine(database_url, pool_size=1, guard=False)
    Database(engine, schema="payments")
    with Database(engine, schema="orders").reading() as session:
        session.execute(
            text("SELECT 1 AS payments FROM (SELECT 1) AS payments WHERE payments.* IS NOT NULL")
        )
    engine.close()
