"""Stock for the demonstration's products."""

from __future__ import annotations

from emporium.inventory.model import Adjustment
from emporium.inventory.stockroom import Stockroom
from portico.data import Database

PIECES = {
    "prod_7721": 1_000,
    "prod_1041": 240,
    "prod_1187": 85,
    "prod_2030": 500,
    "prod_2214": 60,
    "prod_3302": 1_200,
    "prod_3419": 320,
    "prod_4508": 40,
    "prod_5127": 150,
    "prod_6003": 2_000,
    "prod_6644": 12,
    "prod_8850": 75,
}
"""The delivery that opens each stock."""


class Demonstration:
    """Books one delivery per product, once: a restart brings nothing back that was sold."""

    def __init__(self, *, database: Database, stockroom: Stockroom) -> None:
        self._database = database
        self._stockroom = stockroom

    def load(self) -> None:
        """Book what has not been booked yet, each in a transaction of its own.

        One for all would have the levels in this order while buyers, in another process, take them in theirs.
        """
        for product_id, pieces in PIECES.items():
            adjustment = Adjustment(
                product_id=product_id,
                delta=pieces,
                note="demonstration",
                request_id=f"demonstration/{product_id}",
            )
            with self._database.unit_of_work() as session:
                self._stockroom.adjust(session, adjustment)
