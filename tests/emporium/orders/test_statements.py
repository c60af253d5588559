"""How much an order asks of the database, counted by Postgres itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1.orders_service_pb2_grpc import OrdersServiceStub
from sqlalchemy import URL, Connection, NullPool, create_engine, text

from emporium.app import application
from portico.testing.harness import Harness
from portico.testing.servers import Databases

CUSTOMER = "usr_8923a10f"
THREE_LINES = {"prod_7721": 2, "prod_1041": 1, "prod_2030": 5}
_RUNS = 8  # psycopg prepares a statement when it comes for the sixth time
_ENTRY = re.compile(
    r"^\d{4}-\d\d-\d\d .*?LOG:  (statement|execute [^:]+): (.*?)(?=^\d{4}-|\Z)",
    re.DOTALL | re.MULTILINE,
)

Count = Callable[[Callable[[], object]], list[str]]


@pytest.fixture(scope="module")
def url(databases: Databases) -> URL:
    owners = [module.name for module in application.modules if module.owns_data]
    url = databases.migrated(owners, folder=application.migrations)
    with _connected(url) as connection:
        connection.execute(text(f"ALTER DATABASE {url.database} SET log_statement = 'all'"))
    return url


@pytest.fixture(scope="module")
def orders(url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrdersServiceStub]:
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
        yield harness.stub(OrdersServiceStub, "local", user=CUSTOMER)


@pytest.fixture(scope="module")
def statements(url: URL, orders: OrdersServiceStub) -> Count:
    """Runs something and answers every statement of it, as the server has logged them."""
    with _connected(url) as connection:
        data = connection.exec_driver_sql("SHOW data_directory").scalar_one()
    log = Path(data).parent / "postgres.log"

    def count(action: Callable[[], object]) -> list[str]:
        before = log.stat().st_size
        action()
        with log.open("rb") as file:
            file.seek(before)
            said = file.read().decode()
        return list(_statements(said))

    return count


def _statements(log: str) -> Iterator[str]:
    for kind, words in _ENTRY.findall(log):
        # Only the simple protocol takes several at once.
        parts = words.split(";") if kind == "statement" else [words]
        yield from (" ".join(part.split()) for part in parts if part.strip())


def _connected(url: URL) -> Connection:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    return engine.connect()


def basket(**changed: str) -> rpc.PlaceOrderRequest:
    return rpc.PlaceOrderRequest(
        customer_id=CUSTOMER,
        items=[
            rpc.ItemRequest(product_id=product_id, quantity=quantity)
            for product_id, quantity in THREE_LINES.items()
        ],
        payment_method="pm_visa_9832",
        **changed,
    )


def commits(found: list[str]) -> int:
    return sum(statement.startswith("COMMIT") for statement in found)


@pytest.mark.parametrize("timeout", [None, 10])
def test_an_order_is_read_in_at_most_two_statements(
    orders: OrdersServiceStub, statements: Count, timeout: float | None
) -> None:
    request = rpc.GetOrderRequest(order_id=orders.PlaceOrder(basket()).order_id)

    runs = [statements(partial(orders.GetOrder, request, timeout=timeout)) for _ in range(_RUNS)]

    assert all(1 <= len(found) <= 2 for found in runs), runs
    assert all(commits(found) == 0 for found in runs)


def test_a_page_of_orders_is_read_in_at_most_two_statements(
    orders: OrdersServiceStub, statements: Count
) -> None:
    runs = [statements(lambda: orders.ListOrders(rpc.ListOrdersRequest())) for _ in range(_RUNS)]

    assert all(1 <= len(found) <= 2 for found in runs), runs


@pytest.mark.parametrize("timeout", [None, 10])
@pytest.mark.parametrize("request_id", ["", "basket-{}-{}"])
def test_an_order_of_three_lines_is_placed_in_at_most_twelve_statements_and_one_commit(
    orders: OrdersServiceStub, statements: Count, request_id: str, timeout: float | None
) -> None:
    requests = [basket(request_id=request_id.format(run, timeout)) for run in range(_RUNS)]

    runs = [statements(partial(orders.PlaceOrder, each, timeout=timeout)) for each in requests]

    assert all(len(found) <= 12 for found in runs), runs
    assert all(commits(found) == 1 for found in runs), runs
    assert not [each for found in runs for each in found if "SAVEPOINT" in each]


def test_a_repeated_order_is_answered_in_at_most_two_statements(
    orders: OrdersServiceStub, statements: Count
) -> None:
    first = orders.PlaceOrder(basket(request_id="again"))

    found = statements(lambda: orders.PlaceOrder(basket(request_id="again")))

    assert 1 <= len(found) <= 2, found
    assert orders.PlaceOrder(basket(request_id="again")) == first


def test_the_count_sees_all_that_belongs_to_a_transaction(url: URL, statements: Count) -> None:
    """The count can fail: what it is to find is planted here."""
    planted = [
        "SAVEPOINT one",
        "SELECT 1",
        "\n  SELECT\n    2\n",
        "SELECT %(three)s",
        "\n\tSELECT %(four)s -- LOG:  statement: none\n",
    ]

    def act() -> None:
        with create_engine(url, poolclass=NullPool).connect() as connection:
            for statement in planted:
                connection.exec_driver_sql(statement, {"three": 3, "four": 4})
            connection.exec_driver_sql("SELECT 5; SELECT 6")
            connection.commit()

    found = statements(act)

    assert found[found.index(planted[0]) - 1 :] == [  # before it the driver introduces itself
        "BEGIN",
        "SAVEPOINT one",
        "SELECT 1",
        "SELECT 2",
        "SELECT $1",
        "SELECT $1 -- LOG: statement: none",
        "SELECT 5",
        "SELECT 6",
        "COMMIT",
    ]
