"""The statements of inventory: how many they are, and what the tables refuse whoever asks."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from emporium.inventory import store
from emporium.inventory.model import COMMIT, Line, Reservation, Status
from portico.data import constraint


def statements(stockroom: Any, work: Any) -> list[str]:
    """What ``work`` sends to the database, apart from BEGIN and COMMIT."""
    sent: list[str] = []

    def note(*arguments: Any) -> None:
        sent.append(arguments[2])

    engine = stockroom.database.engine._sqlalchemy
    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return sent


def test_reserving_three_lines_takes_one_statement_and_its_event_another(stockroom: Any) -> None:
    lines = {stockroom.stocked(50): 1, stockroom.stocked(50): 2, stockroom.stocked(50): 3}
    sent = statements(stockroom, lambda: stockroom.reserve(stockroom.new_id("ord"), lines))
    assert len(sent) == 2
    assert "inventory.levels" in sent[0]
    assert "outbox" in sent[1]


def test_reading_a_stock_takes_one_statement(stockroom: Any) -> None:
    product = stockroom.stocked(5)
    assert len(statements(stockroom, lambda: stockroom.stock(product))) == 1


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE inventory.levels SET reserved = on_hand + 1", "levels_never_oversold"),
        ("UPDATE inventory.levels SET reserved = -1", "levels_reserved_not_negative"),
        ("UPDATE inventory.reservations SET status = 'LOST'", "reservations_status_known"),
        (
            "UPDATE inventory.reservation_lines SET quantity = 0",
            "reservation_lines_quantity_positive",
        ),
        ("UPDATE inventory.movements SET on_hand = 0, reserved = 0", "movements_kind_fits_numbers"),
    ],
)
def test_the_tables_refuse_what_breaks_a_law(stockroom: Any, change: str, broken: str) -> None:
    stockroom.held({stockroom.stocked(5): 2})
    with pytest.raises(IntegrityError) as caught, stockroom.database.unit_of_work() as session:
        session.exec_driver_sql(change)
    assert constraint(caught.value) == broken


def test_ending_a_reservation_twice_by_mistake_is_refused_by_the_level(stockroom: Any) -> None:
    product = stockroom.stocked(5)
    order = stockroom.held({product: 5})
    with stockroom.database.unit_of_work() as session:
        found = store.lock(session, order)
        assert found is not None
        assert found == Reservation(
            reservation_id=order,
            status=Status.HELD,
            lines=(Line(product, 5),),
            expires_at=found.expires_at,
        )
        store.end(session, found, COMMIT, now=stockroom.clock.now())
    with pytest.raises(IntegrityError), stockroom.database.unit_of_work() as session:
        store.end(session, found, COMMIT, now=stockroom.clock.now())
    assert stockroom.numbers(product) == (0, 0)


def test_an_overdue_hold_is_found_by_its_index(stockroom: Any) -> None:
    with stockroom.database.unit_of_work() as session:
        session.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = session.exec_driver_sql(
            "EXPLAIN SELECT reservation_id FROM inventory.reservations "
            "WHERE status = 'HELD' AND expires_at <= now() ORDER BY expires_at LIMIT 100"
        ).scalars()
        assert "reservations_held_until" in "\n".join(plan)
