from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from sqlalchemy import NullPool, create_engine, text

from portico.clock import ManualClock
from portico.data import Database, Engine
from portico.events import Doorbell, Events, schema
from portico.ids import Ids
from tests.portico.events.mailing import Slow, Told, new_reader
from tests.portico.events.nodes import streaming

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

    from portico.events.streams import StreamReader, Streams
    from portico.events.streams.letters import Box

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


@pytest.fixture
def streams(redis_url: str) -> Iterator[Streams]:
    with streaming(redis_url) as streams:
        yield streams


@pytest.fixture
def redis(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url) as redis:
        yield redis


@pytest.fixture
def box(streams: Streams) -> Box:
    """The keys of the bank, whose stream it is in tests."""
    return streams._box("bank")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.may.set()


@pytest.fixture
def reader(streams: Streams, told: Told) -> Iterator[StreamReader]:
    """The bank reads its stream, one request at a time."""
    reader = new_reader(streams, told)
    reader.start()
    yield reader
    reader.stop()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool
