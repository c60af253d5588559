from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import NullPool, create_engine, text

from portico.clock import ManualClock
from portico.data import Database, Engine
from portico.events import Doorbell, Events, schema
from portico.ids import Ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

MODULES = ("shop", "bank", "post")


class _Operations:
    """What a migration gives to the kernel's functions."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url, poolclass=NullPool)

    def execute(self, sqltext: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(sqltext))


@pytest.fixture(scope="module")
def url(database_url: URL) -> URL:
    op = _Operations(database_url)
    for name in MODULES:
        op.execute(f"CREATE SCHEMA {name}")
        schema.create_v1(op, name)
        schema.add_elsewhere_v1(op, name)
    schema.add_later_v1(op, "shop")
    for name in MODULES:
        op.execute(
            f"CREATE TABLE {name}.effects "
            "(sequence bigint GENERATED ALWAYS AS IDENTITY, aggregate text, event text)"
        )
    return database_url


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    engine = Engine(url, pool_size=10)
    for name in MODULES:
        with Database(engine, schema=name).unit_of_work() as session:
            session.execute(
                text(
                    f"TRUNCATE {name}.outbox, {name}.outbox_elsewhere, {name}.inbox, {name}.effects"
                )
            )
    with Database(engine, schema="shop").unit_of_work() as session:
        session.execute(text("TRUNCATE shop.outbox_later"))
    yield engine
    assert engine.in_use == 0
    engine.close()


@pytest.fixture
def shop(engine: Engine) -> Database:
    return Database(engine, schema="shop")


@pytest.fixture
def bank(engine: Engine) -> Database:
    return Database(engine, schema="bank")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def doorbell() -> Doorbell:
    return Doorbell()


@pytest.fixture
def events(shop: Database, clock: ManualClock, doorbell: Doorbell) -> Events:
    return Events(shop, clock=clock, ids=Ids(clock=clock), doorbell=doorbell)
