"""The demonstration's products."""

from __future__ import annotations

from emporium.catalog import store, wire
from emporium.catalog.model import Price, Product
from portico.clock import Clock
from portico.data import Database
from portico.events import Events

# fmt: off
PRODUCTS = (
    ("prod_7721", 74_99, "Wireless headphones", "Over-ear, noise cancelling, 40 hours on one charge."),
    ("prod_1041", 24_50, "Stainless steel water bottle", "750 ml, keeps cold for a day and hot for half of one."),
    ("prod_1187", 129_00, "Mechanical keyboard", "87 keys, tactile switches, wired."),
    ("prod_2030", 12_95, "Notebook, dotted", "A5, 192 numbered pages of 100 g paper."),
    ("prod_2214", 189_90, "Espresso grinder", "Conical steel burrs, 40 settings."),
    ("prod_3302", 8_75, "Ceramic mug", "350 ml, dishwasher safe."),
    ("prod_3419", 39_99, "Desk lamp", "Dimmable, warm to cold white, with a clamp."),
    ("prod_4508", 349_00, "Office chair", "Adjustable in height, arms and back; up to 120 kg."),
    ("prod_5127", 59_00, "Travel backpack", "28 litres, fits under an aeroplane's seat."),
    ("prod_6003", 5_49, "USB-C cable", "1 m, 60 W, braided."),
    ("prod_6644", 899_00, "27-inch monitor", "2560 by 1440 pixels, USB-C with 65 W."),
    ("prod_8850", 44_00, "Cast iron pan", "26 cm, ready to use, for every stove."),
)
"""Id, price in US cents, title, description."""
# fmt: on


class Demonstration:
    """Adds the products that are not there yet, and leaves all others as they are."""

    def __init__(self, *, database: Database, events: Events, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._clock = clock

    def load(self) -> None:
        """Add what is missing."""
        with self._database.unit_of_work() as session:
            there = {
                product.product_id
                for product in store.find_all(session, [product_id for product_id, *_ in PRODUCTS])
            }
            for product in self._products():
                if product.product_id not in there and store.add(session, product):
                    event = wire.product_created(product)
                    self._events.publish(session, event, aggregate_id=product.product_id)

    def _products(self) -> list[Product]:
        return [
            Product(
                product_id=product_id,
                title=title,
                description=description,
                price=Price(cents, "USD"),
                request_id="",
                created_at=self._clock.now(),
            )
            for product_id, cents, title, description in PRODUCTS
        ]
