from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import text

from portico.context import Identity, Origin, current, entered, root
from portico.data import Database, Engine, TransactionMisuseError
from portico.events.publisher import headers_of, origin_of

if TYPE_CHECKING:
    from portico.clock import ManualClock
    from portico.events import Doorbell, Events


def rows(shop: Database) -> list[Any]:
    with shop.reading() as session:
        return list(session.execute(text("SELECT * FROM shop.outbox ORDER BY sequence")).all())


class Oops(Exception):
    pass


def test_an_event_is_a_row_that_debezium_can_route(
    shop: Database, events: Events, clock: ManualClock
) -> None:
    with shop.unit_of_work() as session:
        event_id = events.publish(session, StringValue(value="paid"), aggregate_id="ord_1")
    (row,) = rows(shop)
    assert (row.id, row.aggregatetype, row.aggregateid) == (UUID(event_id), "shop", "ord_1")
    assert row.type == "google.protobuf.StringValue"
    assert StringValue.FromString(bytes(row.payload)).value == "paid"
    assert row.occurred_at == clock.now()
    assert (row.attempts, row.delivered_at, row.dead_at) == (0, None, None)


def test_it_costs_one_insert(shop: Database, events: Events, engine: Engine) -> None:
    sent: list[str] = []
    sa.event.listen(engine._sqlalchemy, "before_cursor_execute", lambda *a: sent.append(a[2]))
    with shop.unit_of_work() as session:
        events.publish(session, StringValue(value="paid"), aggregate_id="ord_1")
    (statement,) = sent
    assert statement.split()[:3] == ["INSERT", "INTO", '"shop".outbox']


def test_its_ids_rise(shop: Database, events: Events) -> None:
    with shop.unit_of_work() as session:
        ids = [events.publish(session, StringValue(), aggregate_id="a") for _ in range(20)]
    assert ids == sorted(set(ids))


def test_it_exists_only_if_the_unit_of_work_commits(
    shop: Database, events: Events, doorbell: Doorbell
) -> None:
    with pytest.raises(Oops), shop.unit_of_work() as session:
        events.publish(session, StringValue(), aggregate_id="a")
        raise Oops
    assert rows(shop) == []
    assert doorbell.wait(0) == frozenset()


def test_the_doorbell_is_rung_after_the_commit_and_not_before(
    shop: Database, events: Events, doorbell: Doorbell
) -> None:
    with shop.unit_of_work() as session:
        events.publish(session, StringValue(), aggregate_id="a")
        assert doorbell.wait(0) == frozenset()
    assert doorbell.wait(0) == {"shop"}


def test_it_is_refused_where_nothing_commits(shop: Database, events: Events) -> None:
    with shop.reading() as session, pytest.raises(TransactionMisuseError, match="unit of work"):
        events.publish(session, StringValue(), aggregate_id="a")
    assert rows(shop) == []


def test_it_needs_an_aggregate(shop: Database, events: Events) -> None:
    with shop.unit_of_work() as session, pytest.raises(ValueError, match="StringValue needs"):
        events.publish(session, StringValue(), aggregate_id="")


def test_it_remembers_for_whom_it_happened(shop: Database, events: Events) -> None:
    origin = Origin(Identity("usr_1", frozenset({"customer"})), "request", "1" * 32, "2" * 16)
    call = root(module="shop")
    call.origin = origin
    with entered(call), shop.unit_of_work() as session:
        events.publish(session, StringValue(), aggregate_id="a")
    (row,) = rows(shop)
    assert row.headers == {
        "request_id": "request",
        "trace_id": "1" * 32,
        "span_id": "2" * 16,
        "subject": "usr_1",
        "roles": ["customer"],
    }


def test_what_it_remembers_can_be_read_again() -> None:
    origin = current().origin
    again = origin_of(headers_of(origin))
    assert headers_of(again) == headers_of(origin)
    assert again.identity == origin.identity
