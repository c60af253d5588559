"""Whatever is done in whatever order, inventory does what a few lines of arithmetic say it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from commerce.inventory.v1.reservation_pb2 import Reservation
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from portico.errors import StatusError

PRODUCTS = ("a", "b", "c")
LINES = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 4), min_size=1)
HOLD_SECONDS = 60


@dataclass
class Held:
    """A reservation as the arithmetic knows it."""

    status: str
    lines: dict[str, int]
    expires_at: float


class Arithmetic(RuleBasedStateMachine):
    """Runs inventory and a model of it side by side."""

    orders = Bundle("orders")
    stockroom: Any

    @initialize()
    def open(self) -> None:
        self.now = 0.0
        self.ids = {name: self.stockroom.new_id("prod") for name in PRODUCTS}
        self.on_hand = dict.fromkeys(PRODUCTS, 6)
        self.reservations: dict[str, Held] = {}
        for name in PRODUCTS:
            self.stockroom.adjust(self.ids[name], 6)

    def reserved(self, product: str) -> int:
        held = [one for one in self.reservations.values() if one.status == "HELD"]
        return sum(one.lines.get(product, 0) for one in held)

    def available(self, product: str) -> int:
        return self.on_hand[product] - self.reserved(product)

    def expire_for(self, lines: dict[str, int]) -> list[Held]:
        """The overdue holds that share a product with ``lines``."""
        return [
            one
            for one in self.reservations.values()
            if one.status == "HELD"
            and one.expires_at <= self.now
            and one.lines.keys() & lines.keys()
        ]

    def take(self, lines: dict[str, int]) -> bool:
        """Whether there are enough pieces, counting those of overdue holds, which end if so."""
        overdue = self.expire_for(lines)
        for one in overdue:
            one.status = "EXPIRED"
        if all(self.available(product) >= quantity for product, quantity in lines.items()):
            return True
        for one in overdue:
            one.status = "HELD"
        return False

    def real(self, lines: dict[str, int]) -> dict[str, int]:
        return {self.ids[product]: quantity for product, quantity in lines.items()}

    @rule(target=orders, lines=LINES)
    def reserve(self, lines: dict[str, int]) -> str:
        order = self.stockroom.new_id("ord")
        if self.take(lines):
            self.stockroom.reserve(order, self.real(lines), HOLD_SECONDS)
            self.reservations[order] = Held("HELD", lines, self.now + HOLD_SECONDS)
        else:
            with pytest.raises(StatusError, match="INSUFFICIENT_STOCK"):
                self.stockroom.reserve(order, self.real(lines), HOLD_SECONDS)
        return str(order)

    @rule(order=orders, lines=LINES)
    def reserve_again(self, order: str, lines: dict[str, int]) -> None:
        found = self.reservations.get(order)
        if found is None:
            return
        if not found.lines:
            with pytest.raises(StatusError, match="RESERVATION_ENDED"):
                self.stockroom.reserve(order, self.real(lines), HOLD_SECONDS)
        elif found.lines != lines:
            with pytest.raises(StatusError, match="RESERVATION_EXISTS"):
                self.stockroom.reserve(order, self.real(lines), HOLD_SECONDS)
        else:
            again = self.stockroom.reserve(order, self.real(lines), HOLD_SECONDS)
            assert Reservation.Status.Name(again.status) == found.status

    @rule(order=orders)
    def commit(self, order: str) -> None:
        found = self.reservations.get(order)
        if found is None:
            with pytest.raises(StatusError, match="RESERVATION_NOT_FOUND"):
                self.stockroom.commit(order)
        elif found.status == "RELEASED":
            with pytest.raises(StatusError, match="RESERVATION_ENDED"):
                self.stockroom.commit(order)
        elif found.status == "EXPIRED" and not self.take(found.lines):
            with pytest.raises(StatusError, match="INSUFFICIENT_STOCK"):
                self.stockroom.commit(order)
        else:
            self.stockroom.commit(order)
            if found.status != "COMMITTED":
                found.status = "COMMITTED"
                for product, quantity in found.lines.items():
                    self.on_hand[product] -= quantity

    @rule(order=orders)
    def release(self, order: str) -> None:
        self.stockroom.release(order)
        found = self.reservations.setdefault(order, Held("RELEASED", {}, self.now))
        if found.status == "COMMITTED":
            for product, quantity in found.lines.items():
                self.on_hand[product] += quantity
        if found.status in ("HELD", "COMMITTED"):
            found.status = "RELEASED"

    @rule(product=st.sampled_from(PRODUCTS), delta=st.integers(-6, 6).filter(bool))
    def adjust(self, product: str, delta: int) -> None:
        if self.available(product) + delta < 0:
            with pytest.raises(StatusError, match="STOCK_TOO_LOW"):
                self.stockroom.adjust(self.ids[product], delta)
        else:
            self.stockroom.adjust(self.ids[product], delta)
            self.on_hand[product] += delta

    @rule(seconds=st.sampled_from([1, HOLD_SECONDS - 1, HOLD_SECONDS]))
    def wait(self, seconds: int) -> None:
        self.stockroom.clock.advance(seconds=seconds)
        self.now += seconds

    @invariant()
    def levels_are_as_calculated_and_as_logged(self) -> None:
        if not hasattr(self, "ids"):
            return
        rows = self.stockroom.query(
            """SELECT level.product_id, level.on_hand, level.reserved,
                      sum(moved.on_hand)::integer, sum(moved.reserved)::integer
               FROM inventory.levels AS level JOIN inventory.movements AS moved USING (product_id)
               WHERE level.product_id = ANY(:ids) GROUP BY level.product_id""",
            ids=list(self.ids.values()),
        )
        found = {row[0]: tuple(row[1:]) for row in rows}
        for name, product_id in self.ids.items():
            numbers = self.on_hand[name], self.reserved(name)
            assert found[product_id] == numbers + numbers
            assert self.available(name) >= 0


def test_inventory_does_what_arithmetic_says(stockroom: Any) -> None:
    machine = type("InventoryAndArithmetic", (Arithmetic,), {"stockroom": stockroom})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
