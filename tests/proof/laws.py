"""What the proof looks at from outside, in plain SQL: whether all has come to rest, and what has happened."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.journeys import invariants

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

_SCHEMAS = ("auth", "catalog", "inventory", "orders", "payments", "users")

_UNDER_WAY = " UNION ALL ".join(
    [
        f"SELECT 1 FROM {schema}.{table} WHERE delivered_at IS NULL AND dead_at IS NULL"
        for schema in _SCHEMAS
        for table in ("outbox", "outbox_elsewhere")
    ]
    + [
        f"SELECT 1 FROM {schema}.workflow_runs WHERE status = 'RUNNING'"
        for schema in ("orders", "auth")
    ]
)

# What a request that is refused must leave as it was. Rows that say that something is over stay.
_TRACES = {
    "orders": "SELECT order_id, status FROM orders.orders WHERE cancel_reason IS DISTINCT FROM 'NOT_PLACED'",
    "requests": "SELECT customer_id, operation, request_id FROM orders.requests",
    "levels": "SELECT product_id, on_hand, reserved FROM inventory.levels",
    "holds": "SELECT reservation_id FROM inventory.reservations WHERE status = 'HELD'",
    "payments": "SELECT payment_id, status FROM payments.payments WHERE status NOT IN ('VOIDED', 'FAILED')",
    "ledger": "SELECT account, currency_code, sum(amount_minor) FROM payments.postings GROUP BY 1, 2",
    "accounts": "SELECT user_id, email FROM auth.credentials",
    "users": "SELECT user_id, email FROM users.users WHERE erased_at IS NULL",
}

# As if the time of the lease had passed: at once for those who are dead, and after a while for those who may be
# slow, or could not give the run up while there was no database.
_EXPIRE = """
UPDATE {schema}.workflow_runs SET lease_until = now()
WHERE status = 'RUNNING' AND lease_until > now() AND owner <> ''
  AND (split_part(owner, '/', 2)::int <> ALL(%s) OR updated_at < now() - interval '2 seconds')
"""

_DELIVER_AGAIN = """
WITH here AS (UPDATE {schema}.outbox SET delivered_at = NULL WHERE occurred_at >= %(since)s AND dead_at IS NULL
              RETURNING id)
UPDATE {schema}.outbox_elsewhere SET delivered_at = NULL
WHERE event_id IN (SELECT id FROM here) AND dead_at IS NULL
"""


def await_rest(
    outside: psycopg.Connection[Any],
    *,
    pids: Callable[[], list[int]],
    patience_seconds: float,
) -> list[str]:
    """Wait until every workflow has ended and every event has arrived; what is broken then, or after that time.

    ``pids`` says which processes live, and sees to it that all of them do: runs of others are anybody's at once.
    """
    until = time.monotonic() + patience_seconds
    while True:
        living = pids()
        for schema in ("orders", "auth"):
            outside.execute(_EXPIRE.format(schema=schema).encode(), [living])
        if outside.execute(_UNDER_WAY.encode()).fetchone() is None:
            return invariants.violations(outside, settled=True)
        if time.monotonic() > until:
            return invariants.violations(outside, settled=True) or ["it does not come to rest"]
        time.sleep(0.03)


def traces(outside: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    """What a refused request must not change."""
    return {
        name: sorted(outside.execute(query.encode()).fetchall(), key=repr)
        for name, query in _TRACES.items()
    }


def deliver_again(outside: psycopg.Connection[Any], *, since: Any) -> None:
    """Have every event that happened since then delivered once more, to everyone."""
    for schema in _SCHEMAS:
        outside.execute(_DELIVER_AGAIN.format(schema=schema).encode(), {"since": since})


def effects(outside: psycopg.Connection[Any]) -> dict[str, int]:
    """How much has happened: what a repeated delivery must not change."""
    counted = ["orders.orders", "inventory.movements", "payments.postings", "payments.refunds"]
    counted += [f"{schema}.outbox" for schema in _SCHEMAS]
    return {
        name: outside.execute(f"SELECT count(*) FROM {name}".encode()).fetchall()[0][0]
        for name in counted
    }
