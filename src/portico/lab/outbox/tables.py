"""The two modules' tables, and what is wrong in them once all events are delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.events import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from portico.events.schema import Operations

SENDER, RECEIVER = "sender", "receiver"
AGGREGATES = 1000

_OWN = (
    "CREATE TABLE sender.aggregates (name text PRIMARY KEY, last integer NOT NULL DEFAULT 0)",
    "INSERT INTO sender.aggregates SELECT 'a' || n FROM generate_series(1, {aggregates}) AS n",
    # Nothing in it refuses a second effect, or one out of order: the laws look for them.
    # Transactions that were slow to commit, and how many events with later numbers relays had dealt with by then.
    """
CREATE TABLE sender.latecomers (
    aggregate text NOT NULL, first integer NOT NULL, last integer NOT NULL, overtaken_by integer NOT NULL)
""",
    """
CREATE TABLE receiver.effects (
    sequence bigint GENERATED ALWAYS AS IDENTITY, aggregate text NOT NULL, number integer NOT NULL,
    waited_ms double precision NOT NULL)
""",
    """
CREATE VIEW sender.overtaken AS
SELECT last - first + 1 AS events, overtaken_by, (
    SELECT count(DISTINCT number) FROM receiver.effects AS effect
    WHERE effect.aggregate = latecomer.aggregate AND number BETWEEN first AND last) AS arrived
FROM sender.latecomers AS latecomer WHERE overtaken_by > 0
""",
)

_LAWS = {
    "events were published and not delivered": """
SELECT count(*) FROM sender.outbox AS event LEFT JOIN sender.outbox_elsewhere AS onward ON event_id = id
WHERE event.delivered_at IS NULL OR onward.delivered_at IS NULL
""",
    "events have no effect": """
SELECT coalesce(sum(last), 0) - (SELECT count(DISTINCT (aggregate, number)) FROM receiver.effects)
FROM sender.aggregates
""",
    "events of transactions that committed last have no effect": """
SELECT coalesce(sum(events - arrived), 0) FROM sender.overtaken
""",
    "effects happened more than once": """
SELECT count(*) - count(DISTINCT (aggregate, number)) FROM receiver.effects
""",
    "effects came before that of an earlier event of their aggregate": """
SELECT count(*) FROM (
    SELECT number, lag(number, 1, 0) OVER (PARTITION BY aggregate ORDER BY sequence) AS before
    FROM receiver.effects) AS effect
WHERE number <> before + 1
""",
}

_UNDELIVERED, _WITHOUT_EFFECT, *_ = _LAWS.values()

_OVERTAKEN = """
SELECT count(*), coalesce(sum(events), 0), coalesce(sum(arrived), 0),
       coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY overtaken_by), 0)
FROM sender.overtaken
"""


def create(op: Operations) -> None:
    """Make both schemas."""
    for module in (SENDER, RECEIVER):
        op.execute(f"CREATE SCHEMA {module}")
        schema.create_v1(op, module)
        schema.add_elsewhere_v1(op, module)
    for statement in _OWN:
        op.execute(statement.format(aggregates=AGGREGATES))


def violations(count: Callable[[str], Any]) -> list[str]:
    """A line for each law that is broken; ``count`` runs a statement and answers its only value."""
    counted = {law: int(count(statement)) for law, statement in _LAWS.items()}
    return [f"{number} {law}" for law, number in counted.items() if number]


def latecomers(rows: Callable[[str], list[Any]]) -> dict[str, int]:
    """Of the transactions that took their numbers first and committed last: how many, and what became of their events.

    ``overtaken_by`` is how many events with later numbers relays had dealt with before one committed, as a median.
    """
    names = ("transactions", "events", "arrived", "overtaken_by")
    return dict(zip(names, map(int, rows(_OVERTAKEN)[0]), strict=True))


def are_all_delivered(count: Callable[[str], Any]) -> bool:
    """Whether nothing that was published is on its way any more."""
    return not count(_UNDELIVERED) and not count(_WITHOUT_EFFECT)
