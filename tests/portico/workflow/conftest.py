from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import URL

from portico.clock import ManualClock
from portico.data import Database, Engine
from portico.workflow import schema
from tests.portico.workflow.shop import MODULES, Neighbour, Operations, Shop

WRITES_ARE_COUNTED = (
    "CREATE TABLE shop.log_writes (subject text, transaction bigint)",
    """
    CREATE FUNCTION shop.count_write() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO shop.log_writes VALUES (NEW.subject, txid_current());
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER count_write AFTER INSERT OR UPDATE ON shop.workflow_runs
    FOR EACH ROW EXECUTE FUNCTION shop.count_write()
    """,
)


@pytest.fixture(scope="module")
def url(database_url: URL) -> URL:
    op = Operations(database_url)
    for name in MODULES:
        op.execute(f"CREATE SCHEMA {name}")
        op.execute(
            f"CREATE TABLE {name}.things (thing text PRIMARY KEY, status text NOT NULL, "
            "request text NOT NULL, times integer NOT NULL DEFAULT 1)"
        )
    op.execute('CREATE TABLE shop.diary ("order" text, what text, price integer)')
    schema.create_v1(op, "shop")
    schema.create_waits_v1(op, "shop")
    for statement in WRITES_ARE_COUNTED:
        op.execute(statement)
    return database_url


@pytest.fixture
def engines(url: URL) -> Iterator[dict[str, Engine]]:
    engines = {name: Engine(url, pool_size=8) for name in MODULES}
    yield engines
    assert all(engine.in_use == 0 for engine in engines.values())
    for engine in engines.values():
        engine.close()


@pytest.fixture
def make_shop(engines: dict[str, Engine]) -> Callable[..., Shop]:
    def make(**changed: Any) -> Shop:
        databases = {name: Database(engine, schema=name) for name, engine in engines.items()}
        return Shop(
            database=databases["shop"],
            depot=Neighbour(databases["depot"]),
            bank=Neighbour(databases["bank"]),
            clock=ManualClock(),
            **changed,
        )

    return make


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    return make_shop()
