"""Relays of several processes on one database: here each has an engine, a bell and an intercom of its own."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import text

from portico.data import Database, Engine
from portico.events import Doorbell, Events, Intercom, Relay, RelaySettings, reactions_of, reacts_to
from portico.ids import Ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL, Connection

    from portico.clock import ManualClock

_NEVER = RelaySettings(poll_seconds=600)
_PATIENCE_SECONDS = 20


@contextmanager
def intercom(url: URL, bell: Doorbell) -> Iterator[Intercom]:
    engine = Engine(url, pool_size=1)
    intercom = Intercom(engine, bell=bell, schemas=["shop"])
    intercom.start()
    try:
        assert intercom.listening.wait(_PATIENCE_SECONDS)
        assert bell.wait(_PATIENCE_SECONDS) == {"shop"}  # for what it may have missed
        yield intercom
    finally:
        intercom.stop()
        engine.close()


def test_a_bell_is_rung_for_what_another_process_tells(url: URL) -> None:
    here, there = Doorbell(), Doorbell()
    with intercom(url, here) as told, intercom(url, there):
        told.tell("shop")
        assert there.wait(_PATIENCE_SECONDS) == {"shop"}


def test_nobody_hears_himself_or_of_schemas_that_are_not_his(url: URL) -> None:
    here, there = Doorbell(), Doorbell()
    with intercom(url, here) as told, intercom(url, there):
        told.tell("bank")
        time.sleep(0.02)
        told.tell("shop")
        assert there.wait(_PATIENCE_SECONDS) == {"shop"}
        assert here.wait(0.02) == frozenset()


def test_a_lost_connection_is_opened_again_and_what_came_meanwhile_is_looked_for(url: URL) -> None:
    here, there = Doorbell(), Doorbell()
    with intercom(url, here) as told, intercom(url, there), _superuser(url) as session:
        session.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE query ILIKE 'LISTEN %' AND datname = current_database()"
            )
        )
        assert here.wait(_PATIENCE_SECONDS) == there.wait(_PATIENCE_SECONDS) == {"shop"}
        told.tell("shop")
        assert there.wait(_PATIENCE_SECONDS) == {"shop"}


@contextmanager
def _superuser(url: URL) -> Iterator[Connection]:
    engine = Engine(url, pool_size=1)
    with Database(engine, schema="shop").reading() as session:
        yield session
    engine.close()


def test_it_can_be_stopped_while_the_database_is_away_and_started_again(url: URL) -> None:
    away = Engine(url.set(port=1), pool_size=1)
    lonely = Intercom(away, bell=Doorbell(), schemas=["shop"])
    for _ in range(2):
        lonely.start()
        lonely.tell("shop")
        lonely.stop()
        lonely.stop()
    assert not lonely.listening.is_set()


class _Seen:
    """Says when something has reached it."""

    def __init__(self) -> None:
        self.event = threading.Event()

    @reacts_to(StringValue)
    def on_text(self, event: StringValue, session: Connection) -> None:
        self.event.set()


@pytest.fixture
def relay_in_another_process(url: URL, clock: ManualClock) -> Iterator[Callable[[_Seen], Relay]]:
    engine = Engine(url, pool_size=4)
    bell = Doorbell()
    shop, bank = (Database(engine, schema=name) for name in ("shop", "bank"))
    started = []

    def start(seen: _Seen) -> Relay:
        bell.intercom = Intercom(engine, bell=bell, schemas=["shop"])
        relay = Relay(
            [shop],
            reactions_of(seen, database=bank),
            clock=clock,
            doorbell=bell,
            settings=_NEVER,
        )
        started.append(relay)
        relay.start()
        assert bell.intercom.listening.wait(_PATIENCE_SECONDS)
        return relay

    yield start
    for relay in started:
        relay.stop()
    engine.close()


def test_an_event_of_a_process_that_delivers_nothing_reaches_the_relay_of_another(
    url: URL,
    shop: Database,
    clock: ManualClock,
    relay_in_another_process: Callable[[_Seen], Relay],
) -> None:
    seen, bell = _Seen(), Doorbell()
    relay_in_another_process(seen)
    with intercom(url, bell) as told:
        bell.intercom = told
        events = Events(shop, clock=clock, ids=Ids(clock=clock), doorbell=bell)
        time.sleep(0.05)  # the first look is over
        with shop.unit_of_work() as session:
            events.publish(session, StringValue(value="a:1"), aggregate_id="a")
        assert seen.event.wait(_PATIENCE_SECONDS)


def test_a_relay_starts_and_stops_it(clock: ManualClock, shop: Database) -> None:
    bell = Doorbell()
    bell.intercom = Intercom(shop.engine, bell=bell, schemas=["shop"])
    relay = Relay([shop], [], clock=clock, doorbell=bell)
    relay.start()
    assert bell.intercom.listening.wait(_PATIENCE_SECONDS)
    relay.stop()
    assert not bell.intercom.listening.is_set()
