"""The checker of the laws finds each of them broken: what it is to find is planted here."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1.orders_service_pb2_grpc import OrdersServiceStub
from sqlalchemy import URL

from emporium.app import application
from portico.testing.harness import Harness
from portico.testing.servers import Databases
from tests.journeys import invariants

CUSTOMER = "usr_8923a10f"


@pytest.fixture(scope="module")
def shop(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> URL:
    """A database at rest with an order of every kind: unpaid, paid, declined, cancelled before and after."""
    owners = [module.name for module in application.modules if module.owns_data]
    url = databases.migrated(owners, folder=application.migrations)
    settings = application.settings_class().load(
        environment={
            "PORTICO_DATABASE_URL": url.render_as_string(hide_password=False),
            "PORTICO_DEMO": "true",
            "PORTICO_AUTH__ARGON2_PASSES": "1",
            "PORTICO_AUTH__ARGON2_MEMORY_KIB": "32",
        },
        folder=tmp_path_factory.mktemp("no_configuration"),
    )
    with Harness(application, settings) as harness:
        orders = harness.stub(OrdersServiceStub, "local", user=CUSTOMER)
        methods = ["pm_visa_9832", "pm_instant", "pm_declined", "pm_visa_9832", "pm_instant"]
        placed = [orders.PlaceOrder(basket(method)).order_id for method in methods]
        harness.settle()
        for order_id in placed[3:]:
            orders.CancelOrder(rpc.CancelOrderRequest(order_id=order_id))
        harness.settle()
    return url


def basket(method: str) -> rpc.PlaceOrderRequest:
    items = [
        rpc.ItemRequest(product_id="prod_7721", quantity=2),
        rpc.ItemRequest(product_id="prod_2030", quantity=1),
    ]
    return rpc.PlaceOrderRequest(
        customer_id=CUSTOMER, items=items, payment_method=method, request_id=f"basket-{id(items)}"
    )


@pytest.fixture
def outside(shop: URL) -> Iterator[psycopg.Connection]:
    """A look at it in which neither triggers nor foreign keys stand in the way; nothing planted stays."""
    address = shop.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection
        connection.rollback()


def test_a_shop_in_which_nothing_was_planted_breaks_no_law(outside: psycopg.Connection) -> None:
    states = outside.execute(
        "SELECT status, count(*) FROM orders.orders GROUP BY status"
    ).fetchall()

    assert dict(states) == {"CREATED": 1, "PAID": 1, "CANCELLED": 3}
    assert invariants.violations(outside, settled=True) == []


_PLANTED = {
    "a total is the sum of its lines": "UPDATE orders.orders SET total_minor = total_minor + 1",
    "an order has its reservation, with the same lines": """
        DELETE FROM inventory.reservation_lines WHERE product_id = 'prod_2030'
    """,
    "a reservation has its order": """
        INSERT INTO inventory.reservations (reservation_id, status, expires_at, created_at, updated_at)
        VALUES ('ord_lost', 'HELD', now(), now(), now())
    """,
    "an order that is not cancelled keeps its pieces, unless the hold ran out": """
        UPDATE inventory.reservations SET status = 'RELEASED'
    """,
    "pieces left the stock for paid orders only": """
        UPDATE inventory.reservations SET status = 'COMMITTED'
    """,
    "reserved pieces are those of the holds": """
        UPDATE inventory.levels SET reserved = reserved + 1
    """,
    "the movements add up to the level": "UPDATE inventory.levels SET on_hand = on_hand + 1",
    "nothing is oversold": """
        ALTER TABLE inventory.levels DROP CONSTRAINT levels_never_oversold;
        UPDATE inventory.levels SET reserved = on_hand + 1
    """,
    "a request is answered by an order of its customer": """
        UPDATE orders.requests SET customer_id = 'usr_other'
    """,
    "an order was announced once": """
        DELETE FROM orders.outbox WHERE type = 'commerce.orders.v1.OrderPlaced'
    """,
    "an order has its payment, of the same amount": """
        UPDATE payments.payments SET amount_minor = amount_minor + 1 WHERE status = 'PENDING'
    """,
    "a payment has its order": """
        UPDATE payments.payments SET payment_id = 'pay_lost' WHERE status = 'PENDING'
    """,
    "an order is paid with money that was taken": """
        UPDATE payments.payments SET status = 'PENDING' WHERE status = 'SUCCEEDED'
    """,
    "no money is kept for a cancelled order": """
        UPDATE payments.payments SET status = 'SUCCEEDED', refunded_minor = 0 WHERE status = 'REFUNDED'
    """,
    "what went back is the sum of the refunds": "DELETE FROM payments.refunds",
    "no more goes back than was taken": """
        ALTER TABLE payments.payments DROP CONSTRAINT payments_refunded_fits_status;
        UPDATE payments.payments SET refunded_minor = amount_minor + 1 WHERE status = 'REFUNDED'
    """,
    "the ledger of a payment sums to zero": """
        DELETE FROM payments.postings WHERE account = 'SALES' AND entry = 'SUCCEEDED'
           OR account = 'PROVIDER' AND entry = 'SUCCEEDED'
    """,
    "the ledger has what customers owe and what providers hold": """
        UPDATE payments.postings SET account = 'SALES' WHERE account = 'PROVIDER'
    """,
    "every workflow has ended": """
        INSERT INTO orders.workflow_runs (id, name, version, key, subject, input, state, headers, direction,
            status, step, owner, lease_until, created_at, updated_at)
        VALUES (gen_random_uuid(), 'orders.place_order', 1, 'k', '', '{}', '{}', '{}', 'UNDO', 'DEAD', 2, '',
            now(), now(), now())
    """,
    "nothing is held for an order that was never placed": """
        UPDATE orders.orders SET cancel_reason = 'NOT_PLACED', status = 'CANCELLED' WHERE status = 'PAID'
    """,
    "every event was delivered": "UPDATE payments.outbox SET delivered_at = NULL",
    "every event reached the modules in other processes": """
        INSERT INTO orders.outbox_elsewhere (event_id, module, sequence, aggregatetype, aggregateid)
        VALUES (gen_random_uuid(), 'inventory', 1, 'orders', 'ord_lost')
    """,
    "an order follows its payment": """
        UPDATE orders.orders SET status = 'CREATED' WHERE status = 'PAID'
    """,
    "stock follows its order": """
        UPDATE inventory.reservations SET status = 'HELD' WHERE status = 'COMMITTED'
    """,
    "an order tells of its end once": """
        INSERT INTO orders.outbox (id, aggregatetype, aggregateid, type, payload, headers, occurred_at)
        SELECT gen_random_uuid(), aggregatetype, aggregateid, type, payload, headers, occurred_at
        FROM orders.outbox WHERE type = 'commerce.orders.v1.OrderPaid'
    """,
    "an account has its user": "UPDATE users.users SET email = 'another@example.com' WHERE user_id = 'usr_8923a10f'",
    "a user has an account": "DELETE FROM auth.credentials",
    "a user was announced once": """
        INSERT INTO auth.outbox (id, aggregatetype, aggregateid, type, payload, headers, occurred_at)
        SELECT gen_random_uuid(), 'auth', 'usr_8923a10f', 'commerce.auth.v1.UserRegistered', '', '{}', now()
        FROM generate_series(1, 2)
    """,
}


def test_every_law_has_its_planted_violation() -> None:
    assert _PLANTED.keys() == (invariants.LAWS | invariants.SETTLED).keys()


@pytest.mark.parametrize("law", _PLANTED)
def test_a_broken_law_is_found_by_name(outside: psycopg.Connection, law: str) -> None:
    outside.execute(_PLANTED[law].encode())

    assert [each for each in invariants.violations(outside, settled=True) if each.startswith(law)]
