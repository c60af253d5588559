"""For each step of ``orders.place_order``: something that makes this step fail, and no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portico.testing.faults import Fault
from tests.journeys.shopper import new_key
from tests.proof import laws
from tests.proof.leftovers import Leftovers, leftovers, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.journeys.shopper import Answer
    from tests.proof.stand import Stand

WORKFLOW = "orders.place_order"
_PATIENCE_SECONDS = 20.0
_SCARCE, _PIECES = "prod_6644", 12

_MAKE_SCARCE = """
WITH gone AS (
    UPDATE inventory.levels AS level SET on_hand = %(pieces)s FROM inventory.levels AS was
    WHERE level.product_id = %(product)s AND was.product_id = level.product_id
    RETURNING level.product_id, %(pieces)s - was.on_hand AS on_hand
)
INSERT INTO inventory.movements (product_id, kind, on_hand, reserved, moved_at)
SELECT product_id, 'ADJUSTED', on_hand, 0, now() FROM gone
"""


@dataclass(frozen=True)
class Refusal:
    """``asked`` is what is wrong with the request; empty when the step is refused from outside, its work done."""

    step: str
    what: str
    reason: str
    asked: Mapping[str, Any] = field(default_factory=dict)


def _of(product_id: str, quantity: int) -> Mapping[str, Any]:
    return {"items": [{"productId": product_id, "quantity": quantity}]}


REFUSALS = (
    Refusal("price", "nobody sells the product", "PRODUCT_NOT_FOUND", _of("prod_0000", 1)),
    Refusal("order", "fails with its rows written", "REFUSED"),
    Refusal("stock", "one piece is missing", "INSUFFICIENT_STOCK", _of(_SCARCE, _PIECES + 1)),
    Refusal(
        "payment",
        "no provider knows the method",
        "PAYMENT_METHOD_NOT_FOUND",
        {"paymentMethod": "pm_unheard_of"},
    ),
    Refusal("announce", "fails with its event written", "REFUSED"),
)


@dataclass(frozen=True)
class Tried:
    """What came of it. ``reached`` are the steps that began, ``undone`` those whose undo ran, both in order."""

    refusal: Refusal
    answer: Answer
    reached: list[str]
    undone: list[str]
    rows_before: int
    rows_after: int
    difference: Leftovers
    broken: list[str]

    @property
    def failed_there(self) -> bool:
        """Whether it was this step that failed, for this reason."""
        is_last = self.reached[-1:] == [self.refusal.step]
        return is_last and self.answer.reason == self.refusal.reason

    @property
    def wrong(self) -> list[str]:
        """Why this is not the failure of this one step; laws that are broken since."""
        if self.failed_there:
            return self.broken
        answer = f"{self.answer.status} {self.answer.json}"
        return [f"it was answered {answer}, and steps began: {self.reached}", *self.broken]


def make_scarce(stand: Stand) -> None:
    """See to it that a product can be out of stock."""
    values = {"product": _SCARCE, "pieces": _PIECES}
    stand.outside.execute(_MAKE_SCARCE.encode(), values)


def rest(stand: Stand) -> list[str]:
    """Wait until all has come to rest; the laws that are broken then."""
    return laws.await_rest(
        stand.outside, pids=lambda: stand.processes.pids, patience_seconds=_PATIENCE_SECONDS
    )


def refuse(stand: Stand, refusal: Refusal, *, may_mark: bool) -> Tried:
    """Place an order that fails at the step, and look at every row before and after it.

    ``may_mark``: what was undone may leave marks.
    """
    rest(stand)
    home = stand.processes.home(WORKFLOW.partition(".")[0])
    before, orders = snapshot(stand.outside), _orders(stand)
    stand.reports()
    point = f"step {WORKFLOW}.{refusal.step} after"
    faults = [] if refusal.asked else [Fault(point=point, action="refuse")]
    stand.order({home: faults}, record=True)
    body = stand.customer.basket() | refusal.asked
    answer = stand.customer.send("POST", "/api/v1/orders", body, Idempotency_Key=new_key())
    broken = rest(stand)
    stand.order({})
    if _orders(stand) != orders:
        broken.append("the customer is shown other orders than before")
    begun = [
        report["hit"].split()[1].removeprefix(f"{WORKFLOW}.")
        for name, report in stand.reports()
        if name == home and report.get("hit", "").startswith(f"step {WORKFLOW}.")
        if report["hit"].endswith(" before")
    ]
    after = snapshot(stand.outside)
    return Tried(
        refusal,
        answer,
        reached=[name for name in begun if not name.endswith(".undo")],
        undone=[name.removesuffix(".undo") for name in begun if name.endswith(".undo")],
        rows_before=before.total(),
        rows_after=after.total(),
        difference=leftovers(before, after, may_mark=may_mark),
        broken=broken,
    )


def _orders(stand: Stand) -> Any:
    return stand.customer.send("GET", "/api/v1/orders").json["orders"]
