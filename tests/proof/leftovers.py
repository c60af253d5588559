"""What a request has changed in the database: every row of every table, before and after it.

Where modules live apart, what a workflow has undone leaves marks: rows which say that something is over, so that a
command that comes late is refused. ``MARKS`` says which rows may be such, and why they stay; others are left behind.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

Row = dict[str, Any]
Rows = Counter[tuple[str, str]]
"""Table and row as JSON."""

_TABLES = """
SELECT table_schema || '.' || table_name FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema', 'proof')
"""
_TOUCHED = {"inventory.levels": "updated_at"}
"""Columns that tell when a row was touched last, and nothing of what it says."""


New = Mapping[str, Sequence[Row]]
"""The rows that are new, by table."""


@dataclass(frozen=True)
class Mark:
    """Which new rows of a table may stay after a request that was undone, and why they do."""

    why: str
    is_one: Callable[[Row, New], bool]


def _order(row: Row, new: New) -> bool:
    orders = new.get("orders.orders", ())
    ended = [each for each in orders if each["cancel_reason"] == "NOT_PLACED"]
    return any(
        each["status"] == "CANCELLED" and each["order_id"] == row["order_id"] for each in ended
    )


def _hold(row: Row, new: New) -> bool:
    name = row.get("reservation_id") or row["aggregateid"]
    holds = new.get("inventory.reservations", ())
    return any(each["status"] == "RELEASED" and each["reservation_id"] == name for each in holds)


def _movement(row: Row, new: New) -> bool:
    moved = [
        each
        for each in new.get("inventory.movements", ())
        if (each["reservation_id"], each["product_id"])
        == (row["reservation_id"], row["product_id"])
    ]
    return _is_nothing(moved, "on_hand") and _is_nothing(moved, "reserved")


def _posting(row: Row, new: New) -> bool:
    posted = [
        each
        for each in new.get("payments.postings", ())
        if (each["payment_id"], each["account"]) == (row["payment_id"], row["account"])
    ]
    return _is_nothing(posted, "amount_minor")


def _is_nothing(rows: Sequence[Row], amount: str) -> bool:
    total: int = sum(each[amount] for each in rows)
    return total == 0


def _delivered(row: Row, _: New) -> bool:
    return row["delivered_at"] is not None and row.get("type") != "commerce.orders.v1.OrderPlaced"


def _heard(row: Row, new: New) -> bool:
    return any(each["id"] == row["event_id"] for name in _OUTBOXES for each in new.get(name, ()))


_OUTBOXES = ("inventory.outbox", "orders.outbox", "payments.outbox")
_EVENT = "events of what was done and undone, delivered; none says that an order was placed"

MARKS = {
    "orders.orders": Mark("the order, CANCELLED as NOT_PLACED: no query shows it", _order),
    "orders.order_items": Mark("its lines", _order),
    "orders.workflow_runs": Mark("the run, UNDONE", lambda row, _: row["status"] == "UNDONE"),
    "inventory.reservations": Mark("the hold, RELEASED: refuses a Reserve that comes late", _hold),
    "inventory.reservation_lines": Mark("its lines", _hold),
    "inventory.movements": Mark("held and set free: they add up to nothing", _movement),
    "inventory.outbox_later": Mark("has the hold looked at when its time is over", _hold),
    "payments.payments": Mark(
        "the payment, VOIDED: refuses a Charge that comes late",
        lambda row, _: row["status"] == "VOIDED",
    ),
    "payments.postings": Mark("charged and voided: they add up to nothing", _posting),
    **{outbox: Mark(_EVENT, _delivered) for outbox in _OUTBOXES},
    **{
        f"{each}_elsewhere": Mark("the same, for another process", _delivered) for each in _OUTBOXES
    },
    **{
        each.replace("outbox", "inbox"): Mark("which of them a reaction has had", _heard)
        for each in _OUTBOXES
    },
}


def snapshot(outside: psycopg.Connection[Any]) -> Rows:
    """Every row of every table of every module."""
    found: Rows = Counter()
    with outside.transaction():
        outside.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for (table,) in outside.execute(_TABLES.encode()).fetchall():
            query = f"SELECT (to_jsonb(t) - '{_TOUCHED.get(table, '')}')::text FROM {table} AS t"
            found.update((table, row) for (row,) in outside.execute(query.encode()))
    return found


@dataclass(frozen=True)
class Leftovers:
    """What is different; ``left`` and ``marks`` count rows by table."""

    left: Counter[str]
    marks: Counter[str]


def leftovers(before: Rows, after: Rows, *, may_mark: bool) -> Leftovers:
    """Compare. Rows that were changed or removed count as left behind; new ones too, but for marks if they may be."""
    new: defaultdict[str, list[Row]] = defaultdict(list)
    for (table, row), count in (after - before).items():
        new[table] += [json.loads(row)] * count
    left: Counter[str] = Counter()
    for (table, _), count in (before - after).items():
        left[table] += count
    marks: Counter[str] = Counter()
    for table, rows in new.items():
        mark = MARKS.get(table) if may_mark else None
        for each in rows:
            kind = marks if mark is not None and mark.is_one(each, new) else left
            kind[table] += 1
    return Leftovers(left, marks)
