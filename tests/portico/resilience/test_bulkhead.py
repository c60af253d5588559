"""The bulkhead."""

from __future__ import annotations

from portico.resilience.bulkhead import Bulkhead


def test_it_lets_so_many_in_and_no_more() -> None:
    bulkhead = Bulkhead(2)

    assert [bulkhead.enter() for _ in range(3)] == [True, True, False]
    assert (bulkhead.in_flight, bulkhead.refused) == (2, 1)


def test_one_that_leaves_makes_room_for_another() -> None:
    bulkhead = Bulkhead(1)
    bulkhead.enter()
    bulkhead.leave()

    assert bulkhead.enter()
    assert not bulkhead.enter()
