"""The laws of the shop, checked from outside: plain SQL over every schema of one database.

Each query finds the rows that break one law, so that a healthy database answers all of them with nothing.
``LAWS`` hold between any two transactions, also right after a crash, for every order that no workflow is working
on; ``SETTLED`` ones hold as well once every event has been delivered and every workflow has ended.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

# Where the modules live apart, a workflow makes its laws true step by step; and of an order that was never placed
# only its row is left.
_AT_REST = """
    NOT EXISTS (SELECT FROM orders.workflow_runs AS run
                WHERE run.subject = o.order_id AND run.status NOT IN ('DONE', 'UNDONE'))
"""
_OUTBOXES = ("auth", "catalog", "inventory", "orders", "payments", "users")
_PLACED = f"o.cancel_reason IS DISTINCT FROM 'NOT_PLACED' AND {_AT_REST}"

LAWS = {
    "a total is the sum of its lines": """
        SELECT o.order_id, o.total_minor, sum(i.line_total_minor) AS of_lines
        FROM orders.orders AS o LEFT JOIN orders.order_items AS i USING (order_id)
        GROUP BY o.order_id HAVING o.total_minor IS DISTINCT FROM sum(i.line_total_minor)
    """,
    "an order has its reservation, with the same lines": f"""
        SELECT o.order_id, o.status FROM orders.orders AS o
        WHERE (SELECT jsonb_object_agg(product_id, quantity) FROM orders.order_items AS i
               WHERE i.order_id = o.order_id)
          IS DISTINCT FROM
              (SELECT jsonb_object_agg(product_id, quantity) FROM inventory.reservation_lines AS l
               WHERE l.reservation_id = o.order_id)
          AND {_PLACED}
    """,
    "a reservation has its order": """
        SELECT r.reservation_id, r.status FROM inventory.reservations AS r
        LEFT JOIN orders.orders AS o ON o.order_id = r.reservation_id
        WHERE o.order_id IS NULL
    """,
    "an order that is not cancelled keeps its pieces, unless the hold ran out": f"""
        SELECT o.order_id, o.status, r.status AS reservation
        FROM orders.orders AS o JOIN inventory.reservations AS r ON r.reservation_id = o.order_id
        WHERE o.status <> 'CANCELLED' AND r.status NOT IN ('HELD', 'COMMITTED', 'EXPIRED') AND {_AT_REST}
    """,
    "pieces left the stock for paid orders only": """
        SELECT o.order_id, o.status FROM orders.orders AS o
        JOIN inventory.reservations AS r ON r.reservation_id = o.order_id
        WHERE r.status = 'COMMITTED' AND o.status = 'CREATED'
    """,
    "reserved pieces are those of the holds": """
        SELECT product_id, level.reserved, coalesce(held.pieces, 0) AS held
        FROM inventory.levels AS level
        FULL JOIN (
            SELECT line.product_id, sum(line.quantity) AS pieces
            FROM inventory.reservation_lines AS line JOIN inventory.reservations USING (reservation_id)
            WHERE status = 'HELD' GROUP BY line.product_id
        ) AS held USING (product_id)
        WHERE level.reserved IS DISTINCT FROM coalesce(held.pieces, 0)
    """,
    "the movements add up to the level": """
        SELECT product_id, level.on_hand, level.reserved, moved.on_hand AS moved_on_hand,
               moved.reserved AS moved_reserved
        FROM inventory.levels AS level
        FULL JOIN (
            SELECT product_id, sum(on_hand) AS on_hand, sum(reserved) AS reserved
            FROM inventory.movements GROUP BY product_id
        ) AS moved USING (product_id)
        WHERE (level.on_hand, level.reserved) IS DISTINCT FROM (moved.on_hand, moved.reserved)
    """,
    "nothing is oversold": """
        SELECT product_id, on_hand, reserved FROM inventory.levels
        WHERE reserved < 0 OR on_hand < reserved
    """,
    "a request is answered by an order of its customer": """
        SELECT r.customer_id, r.request_id FROM orders.requests AS r
        LEFT JOIN orders.orders AS o USING (order_id)
        WHERE o.customer_id IS DISTINCT FROM r.customer_id
    """,
    "an order was announced once": f"""
        SELECT order_id FROM orders.orders AS o
        WHERE {_PLACED} AND 1 <> (
            SELECT count(*) FROM orders.outbox
            WHERE aggregateid = order_id AND type = 'commerce.orders.v1.OrderPlaced')
    """,
    "an order has its payment, of the same amount": f"""
        SELECT o.order_id, o.total_minor, p.amount_minor FROM orders.orders AS o
        LEFT JOIN payments.payments AS p USING (payment_id)
        WHERE {_PLACED}
          AND (p.order_id, p.customer_id, p.amount_minor, p.currency_code, p.payment_method)
              IS DISTINCT FROM (o.order_id, o.customer_id, o.total_minor, o.currency, o.payment_method)
    """,
    "a payment has its order": """
        SELECT p.payment_id, p.order_id, p.status FROM payments.payments AS p
        LEFT JOIN orders.orders AS o USING (payment_id)
        WHERE o.order_id IS NULL
    """,
    "an order is paid with money that was taken": """
        SELECT o.order_id, o.status, p.status AS payment FROM orders.orders AS o
        JOIN payments.payments AS p USING (payment_id)
        WHERE o.status IN ('PAID', 'SHIPPED', 'DELIVERED')
          AND p.status NOT IN ('SUCCEEDED', 'PARTIALLY_REFUNDED')
    """,
    "no money is kept for a cancelled order": f"""
        SELECT o.order_id, o.cancel_reason, p.status AS payment FROM orders.orders AS o
        JOIN payments.payments AS p USING (payment_id)
        WHERE o.status = 'CANCELLED' AND p.status NOT IN ('FAILED', 'VOIDED', 'REFUNDED') AND {_AT_REST}
    """,
    "what went back is the sum of the refunds": """
        SELECT p.payment_id, p.refunded_minor, sum(r.amount_minor) AS of_refunds
        FROM payments.payments AS p LEFT JOIN payments.refunds AS r USING (payment_id)
        GROUP BY p.payment_id HAVING p.refunded_minor <> coalesce(sum(r.amount_minor), 0)
    """,
    "no more goes back than was taken": """
        SELECT payment_id, amount_minor, refunded_minor FROM payments.payments
        WHERE refunded_minor > amount_minor
           OR refunded_minor > 0 AND status NOT IN ('REFUNDED', 'PARTIALLY_REFUNDED')
    """,
    "the ledger of a payment sums to zero": """
        SELECT payment_id, currency_code, sum(amount_minor) FROM payments.postings
        GROUP BY payment_id, currency_code HAVING sum(amount_minor) <> 0
    """,
    "the ledger has what customers owe and what providers hold": """
        SELECT p.payment_id, p.status, sum(l.amount_minor) FILTER (WHERE l.account = 'CUSTOMER') AS owed,
               sum(l.amount_minor) FILTER (WHERE l.account = 'PROVIDER') AS held
        FROM payments.payments AS p LEFT JOIN payments.postings AS l USING (payment_id)
        GROUP BY p.payment_id
        HAVING coalesce(sum(l.amount_minor) FILTER (WHERE l.account = 'CUSTOMER'), 0)
               <> CASE p.status WHEN 'PENDING' THEN p.amount_minor ELSE 0 END
            OR coalesce(sum(l.amount_minor) FILTER (WHERE l.account = 'PROVIDER'), 0)
               <> CASE WHEN p.status IN ('SUCCEEDED', 'REFUNDED', 'PARTIALLY_REFUNDED')
                       THEN p.amount_minor - p.refunded_minor ELSE 0 END
    """,
}

SETTLED = {
    "every workflow has ended": """
        SELECT name, key, status, direction, step, attempts, last_error FROM orders.workflow_runs
        WHERE status NOT IN ('DONE', 'UNDONE')
        UNION ALL
        SELECT name, key, status, direction, step, attempts, last_error FROM auth.workflow_runs
        WHERE status NOT IN ('DONE', 'UNDONE')
    """,
    "nothing is held for an order that was never placed": """
        SELECT o.order_id, o.status, r.status AS reservation, p.status AS payment FROM orders.orders AS o
        LEFT JOIN inventory.reservations AS r ON r.reservation_id = o.order_id
        LEFT JOIN payments.payments AS p USING (payment_id)
        WHERE o.cancel_reason = 'NOT_PLACED'
          AND (r.status <> 'RELEASED' OR p.status NOT IN ('VOIDED', 'FAILED', 'REFUNDED'))
    """,
    "every event was delivered": " UNION ALL ".join(
        f"SELECT type, aggregateid, attempts, last_error FROM {schema}.outbox WHERE delivered_at IS NULL"
        for schema in _OUTBOXES
    ),
    "every event reached the modules in other processes": " UNION ALL ".join(
        f"SELECT module, aggregateid, attempts, last_error FROM {schema}.outbox_elsewhere WHERE delivered_at IS NULL"
        for schema in _OUTBOXES
    ),
    "an order follows its payment": """
        SELECT o.order_id, o.status, p.status AS payment FROM orders.orders AS o
        JOIN payments.payments AS p USING (payment_id)
        WHERE (o.status = 'CREATED') <> (p.status = 'PENDING')
    """,
    "stock follows its order": """
        SELECT o.order_id, o.status, r.status AS reservation
        FROM orders.orders AS o JOIN inventory.reservations AS r ON r.reservation_id = o.order_id
        WHERE CASE o.status
            WHEN 'CREATED' THEN r.status <> 'HELD'
            WHEN 'CANCELLED' THEN r.status IN ('HELD', 'COMMITTED')
            ELSE r.status <> 'COMMITTED' END
    """,
    "an order tells of its end once": """
        SELECT o.order_id, o.status, e.type, count(*) FROM orders.orders AS o
        JOIN orders.outbox AS e ON e.aggregateid = o.order_id
        GROUP BY o.order_id, e.type HAVING count(*) > 1
    """,
    "an account has its user": """
        SELECT c.user_id, c.email, u.email, u.erased_at FROM auth.credentials AS c
        LEFT JOIN users.users AS u USING (user_id)
        WHERE u.email IS DISTINCT FROM c.email
    """,
    "a user has an account": """
        SELECT u.user_id, u.email FROM users.users AS u LEFT JOIN auth.credentials AS c USING (user_id)
        WHERE u.erased_at IS NULL AND c.user_id IS NULL
    """,
    "a user was announced once": """
        SELECT aggregateid, count(*) FROM auth.outbox WHERE type = 'commerce.auth.v1.UserRegistered'
        GROUP BY aggregateid HAVING count(*) > 1
    """,
}


def violations(connection: psycopg.Connection[Any], *, settled: bool = False) -> list[str]:
    """Every broken law with the first rows that break it; nothing when all is well.

    One snapshot for all, unless the caller has a transaction open: what runs meanwhile does not look like a
    violation. ``settled`` checks the laws of a shop at rest too.
    """
    found = []
    own = connection.info.transaction_status == TransactionStatus.IDLE
    with connection.transaction():
        if own:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for law, query in (LAWS | (SETTLED if settled else {})).items():
            rows = connection.execute(query.encode()).fetchmany(5)
            if rows:
                found.append(f"{law}: {rows}")
    return found


def await_rest(connection: psycopg.Connection[Any], *, patience_seconds: float = 20) -> None:
    """Return when every law holds, those of a shop at rest too; AssertionError when that takes too long."""
    until = time.monotonic() + patience_seconds
    while found := violations(connection, settled=True):
        assert time.monotonic() < until, found
        time.sleep(0.05)
