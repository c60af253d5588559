"""Orders whose neighbours live elsewhere: every call to them has a transaction of its own, and may fail.

The whole application in one process, with orders once more beside it: the same source, told that nothing
but its own tables is here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import psycopg
import pytest
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from commerce.inventory.v1.inventory_service_pb2 import ReleaseRequest
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1.order_pb2 import Order
from commerce.orders.v1.orders_service_pb2_grpc import (
    OrdersServiceStub,
    add_OrdersServiceServicer_to_server,
)
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub

from emporium.app import application
from emporium.orders.module import module
from emporium.orders.service import OrdersService
from emporium.orders.settings import OrdersSettings
from emporium.orders.workflows import CancelOrder, PlaceOrder
from portico import errors
from portico.clock import ManualClock
from portico.context import Call, Identity, StepMark, current, entered, root
from portico.data import Database
from portico.errors import StatusError
from portico.events import Events
from portico.gateway import Gateway
from portico.gateway.exchange import Request
from portico.ids import Ids
from portico.rpc.local import LocalChannel
from portico.rpc.registry import Registry
from portico.testing.harness import Harness, authorization
from portico.testing.servers import Databases
from portico.workflow import Recovery, Workflows, WorkflowSettings
from tests.journeys import invariants

SETTINGS = WorkflowSettings(
    step_delay_seconds=0.002, wait_seconds=2, forward_attempts=2, first_delay_seconds=1
)
Fault = Callable[[Callable[[], Any]], Any]


class Killed(KeyboardInterrupt):
    """What stands in for the end of the process; the one thing that no servicer's failure hides."""


def works(call: Callable[[], Any]) -> Any:
    return call()


def killed(_: Callable[[], Any]) -> Any:
    raise Killed


def killed_after(call: Callable[[], Any]) -> Any:
    call()
    raise Killed


def lost(call: Callable[[], Any]) -> Any:
    call()
    raise errors.unavailable("", "the answer was lost")


def down(_: Callable[[], Any]) -> Any:
    raise errors.unavailable("", "cannot be reached")


def refused(_: Callable[[], Any]) -> Any:
    raise errors.failed_precondition("REFUSED", "for the sake of the test")


class Faulty:
    """A stub whose calls meet the faults planted for their method, one after the other."""

    def __init__(self, stub: Any, faults: dict[str, list[Fault]]) -> None:
        self._stub, self._faults = stub, faults

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(request: Any) -> Any:
            assert current().transaction is None, f"{method} was called inside a transaction"
            planned = self._faults.get(method)
            fault = planned.pop(0) if planned else works
            return fault(lambda: getattr(self._stub, method)(request))

        return call


class FaultyEvents:
    """Publishes, unless the process is to end before."""

    def __init__(self, events: Events, faults: dict[str, list[Fault]]) -> None:
        self._events, self._faults = events, faults

    def publish(self, session: Any, message: Any, *, aggregate_id: str) -> str:
        planned = self._faults.get(message.DESCRIPTOR.name)
        fault = planned.pop(0) if planned else works
        published = fault(lambda: self._events.publish(session, message, aggregate_id=aggregate_id))
        return str(published)


class Apart:
    """Orders, apart; ``faults`` by the name of the method or event that meets them."""

    def __init__(self, harness: Harness, clock: ManualClock, address: str) -> None:
        self.harness, self.clock, self._address = harness, clock, address
        self.faults: dict[str, list[Fault]] = {}
        self._numbers = count(1)
        self.new_process()

    def new_process(self) -> None:
        """Another process of orders in place of the one before."""
        assert self.harness.program.storage is not None
        provided: Any = self.harness.program.storage.provided(module)
        channel = self.harness.program.channel("orders")
        database: Database = provided[Database]
        events: Any = FaultyEvents(provided[Events], self.faults)
        inventory: Any = Faulty(InventoryServiceStub(channel), self.faults)
        payments: Any = Faulty(PaymentsServiceStub(channel), self.faults)
        catalog = CatalogServiceStub(channel)
        self.workflows = Workflows(
            module="orders",
            database=database,
            clock=self.clock,
            is_local=lambda _: False,
            settings=SETTINGS,
        )
        place = PlaceOrder(
            workflows=self.workflows,
            database=database,
            events=events,
            settings=OrdersSettings(),
            catalog=catalog,
            inventory=inventory,
            payments=payments,
        )
        cancel = CancelOrder(
            workflows=self.workflows,
            database=database,
            events=events,
            inventory=inventory,
            payments=payments,
        )
        service = OrdersService(
            database=database,
            clock=self.clock,
            ids=Ids(clock=self.clock),
            settings=OrdersSettings(),
            catalog=catalog,
            place_order=place,
            cancel_order=cancel,
        )
        registry = Registry()
        registrar: Any = registry.registrar("orders")
        add_OrdersServiceServicer_to_server(service, registrar)
        policy = self.harness.program.policy
        channel = LocalChannel(registry, policy=policy, caller="")
        self._stub = OrdersServiceStub(channel)
        self._gateway = Gateway(channel, ["commerce.orders.v1.OrdersService"])
        self.service = service
        self.place_workflow = place

    def customer(self) -> str:
        return f"usr_apart_{next(self._numbers)}"

    def place(
        self, customer: str, *, stub: OrdersServiceStub | None = None, **changed: Any
    ) -> rpc.PlaceOrderResponse:
        content = {"payment_method": "pm_visa_9832", "request_id": "basket"} | changed
        item = rpc.ItemRequest(product_id="prod_7721", quantity=2)
        request = rpc.PlaceOrderRequest(customer_id=customer, items=[item], **content)
        as_them = self._as(customer)
        if stub is not None:
            return stub.PlaceOrder(request, metadata=as_them, timeout=1)
        return self._stub.PlaceOrder(request, metadata=as_them)

    def post(self, customer: str, key: str, *, seconds: float) -> tuple[int, Any]:
        """Place an order over REST, and wait so long for it: the status, and the JSON of the answer."""
        content = {
            "customerId": customer,
            "items": [{"productId": "prod_7721", "quantity": 2}],
            "paymentMethod": "pm_visa_9832",
        }
        headers = [
            authorization(Identity(customer)),
            ("content-type", "application/json"),
            ("idempotency-key", key),
            ("x-request-timeout", str(seconds)),
        ]
        body = json.dumps(content).encode()
        answer = self._gateway.handle(Request("POST", "/api/v1/orders", headers=headers, body=body))
        return answer.status, json.loads(answer.body)

    def orders(self, customer: str) -> list[Order]:
        found = self._stub.ListOrders(rpc.ListOrdersRequest(), metadata=self._as(customer))
        return list(found.orders)

    def get(self, customer: str, order_id: str) -> Order:
        return self._stub.GetOrder(
            rpc.GetOrderRequest(order_id=order_id), metadata=self._as(customer)
        )

    def cancel(self, customer: str, order_id: str) -> Order:
        request = rpc.CancelOrderRequest(order_id=order_id)
        return self._stub.CancelOrder(request, metadata=self._as(customer))

    def order_ids(self, customer: str) -> list[str]:
        """Of every row, seen or not."""
        with psycopg.connect(self._address, autocommit=True) as outside:
            query = "SELECT order_id FROM orders.orders WHERE customer_id = %s"
            return [row[0] for row in outside.execute(query, [customer])]

    def recover(self) -> Recovery:
        """Let leases end and another process go on, without what has befallen the first one."""
        self.faults.clear()
        self.clock.advance(seconds=100)
        self.new_process()
        recovery = Recovery([self.workflows], settings=SETTINGS)
        recovery.settle()
        return recovery

    def settle(self) -> None:
        """Deliver all events, those too that were not due before; twice, and what is held is held still."""
        self.harness.settle()
        self.clock.advance(seconds=350)
        self.harness.settle()

    def violations(self) -> list[str]:
        with psycopg.connect(self._address, autocommit=True) as outside:
            return invariants.violations(outside, settled=True)

    def held(self, customer: str) -> int:
        """Reservations that keep pieces for a customer."""
        query = (
            "SELECT FROM inventory.reservations WHERE status = 'HELD' AND reservation_id = ANY(%s)"
        )
        with psycopg.connect(self._address, autocommit=True) as outside:
            return outside.execute(query, [self.order_ids(customer)]).rowcount

    def _as(self, customer: str) -> Any:
        return (authorization(Identity(customer)),)


@pytest.fixture(scope="module")
def apart(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    owners = [each.name for each in application.modules if each.owns_data]
    url = databases.migrated(owners, folder=application.migrations)
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = application.settings_class().load(
        environment={
            "PORTICO_DATABASE_URL": address,
            "PORTICO_DEMO": "true",
            "PORTICO_AUTH__ARGON2_PASSES": "1",
            "PORTICO_AUTH__ARGON2_MEMORY_KIB": "32",
        },
        folder=tmp_path_factory.mktemp("no_configuration"),
    )
    clock = ManualClock()
    with Harness(application, settings, clock=clock) as harness:
        yield Apart(harness, clock, address)


@pytest.fixture(autouse=True)
def at_rest(apart: Apart) -> Iterator[None]:
    """After each test: whatever happened in it, every law holds."""
    apart.faults.clear()
    yield
    apart.recover()
    apart.settle()
    assert apart.violations() == []


def reason(call: Callable[[], Any]) -> str:
    with pytest.raises(StatusError) as failure:
        call()
    return failure.value.reason or failure.value.code().name


def test_an_order_is_placed_and_answered_again(apart: Apart) -> None:
    customer = apart.customer()

    first, again = apart.place(customer), apart.place(customer)

    assert first == again
    assert [order.order_id for order in apart.orders(customer)] == [first.order_id]


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("Reserve", killed),
        ("Reserve", killed_after),
        ("Charge", killed),
        ("Charge", killed_after),
        ("OrderPlaced", killed),
    ],
)
def test_a_placing_whose_process_ends_is_finished(apart: Apart, method: str, fault: Fault) -> None:
    customer = apart.customer()
    apart.faults[method] = [fault]
    with pytest.raises(Killed):
        apart.place(customer)
    assert apart.orders(customer) == []
    assert apart.order_ids(customer) != []

    assert apart.recover().finished == 1

    (order,) = apart.orders(customer)
    assert order.status == Order.CREATED
    assert apart.place(customer).order_id == order.order_id


@pytest.mark.parametrize(
    ("where", "how", "undo", "fault"),
    [
        ("Reserve", refused, "", works),
        ("Reserve", refused, "OrderCancelled", killed),
        ("Reserve", lost, "Release", killed),
        ("Reserve", lost, "Release", down),
        ("Reserve", down, "Release", killed_after),
        ("Reserve", down, "OrderCancelled", killed_after),
        ("Charge", refused, "", works),
        ("Charge", refused, "Release", killed),
        ("Charge", refused, "OrderCancelled", killed),
        ("Charge", lost, "Void", killed),
        ("Charge", lost, "Void", killed_after),
        ("Charge", lost, "Release", killed_after),
        ("Charge", down, "Void", down),
    ],
)
def test_a_placing_that_fails_leaves_nothing(
    apart: Apart, where: str, how: Fault, undo: str, fault: Fault
) -> None:
    customer = apart.customer()
    apart.faults[where] = [how] * SETTINGS.step_attempts
    apart.faults[undo] = [fault] * SETTINGS.step_attempts
    with suppress(Killed):
        assert reason(lambda: apart.place(customer)) == (
            "REFUSED" if how is refused else "UNAVAILABLE"
        )

    apart.recover()
    apart.settle()

    # Until the first undo the log does not know of the refusal, and neither does the caller: another
    # process may try again, and now it is not refused.
    tried_again = where == "Reserve" and how is refused and undo == "OrderCancelled"
    assert len(apart.orders(customer)) == apart.held(customer) == (1 if tried_again else 0)
    assert apart.violations() == []
    placed = apart.place(customer)  # the same request, anew
    assert [order.order_id for order in apart.orders(customer)] == [placed.order_id]


@pytest.mark.parametrize("method", ["Reserve", "Charge"])
def test_what_comes_after_its_undo_is_refused(apart: Apart, method: str) -> None:
    customer = apart.customer()
    late: list[Any] = []

    def delayed(call: Callable[[], Any]) -> Any:
        late.append(call)
        return down(call)

    apart.faults[method] = [delayed, down, down]
    assert reason(lambda: apart.place(customer)) == "UNAVAILABLE"

    with entered(as_a_step()):
        refusal = reason(late[0])
    assert refusal == {"Reserve": "RESERVATION_ENDED", "Charge": "PAYMENT_VOIDED"}[method]
    assert apart.held(customer) == 0


def as_a_step() -> Call:
    """A call such as the step made that was on its way for so long."""
    call = root(module="orders")
    call.step = StepMark("orders", "late")
    return call


def test_what_is_being_placed_is_seen_by_nobody_and_answered_to_nobody(apart: Apart) -> None:
    customer = apart.customer()
    reached, go_on = threading.Event(), threading.Event()

    def wait(call: Callable[[], Any]) -> Any:
        reached.set()
        assert go_on.wait(10)
        return call()

    apart.faults["Charge"] = [wait]
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(apart.place(customer)))
    second = threading.Thread(target=lambda: answers.append(apart.place(customer)))
    first.start()
    assert reached.wait(10)
    (order_id,) = apart.order_ids(customer)

    assert apart.orders(customer) == []
    assert reason(lambda: apart.get(customer, order_id)) == "ORDER_NOT_FOUND"
    assert reason(lambda: apart.cancel(customer, order_id)) == "ORDER_NOT_FOUND"
    assert reason(lambda: apart.place(customer, payment_method="pm_instant")) == "REQUEST_ID_REUSED"
    second.start()
    second.join(0.05)
    assert answers == []
    go_on.set()
    first.join()
    second.join()

    assert [answer.order_id for answer in answers] == [order_id] * 2
    assert apart.get(customer, order_id).status == Order.CREATED


@pytest.mark.parametrize(
    ("method", "status"), [("pm_instant", Order.PAID), ("pm_declined", Order.CANCELLED)]
)
def test_a_provider_that_answers_before_the_order_is_placed_is_heard_afterwards(
    apart: Apart, method: str, status: int
) -> None:
    customer = apart.customer()

    def heard_first(call: Callable[[], Any]) -> Any:
        call()
        raise Killed

    apart.faults["Charge"] = [heard_first]
    with pytest.raises(Killed):
        apart.place(customer, payment_method=method)
    apart.harness.settle()  # PaymentRequested, PaymentSucceeded or PaymentFailed
    assert apart.orders(customer) == []

    apart.recover()
    assert [order.status for order in apart.orders(customer)] == [Order.CREATED]
    apart.settle()

    assert [order.status for order in apart.orders(customer)] == [status]


def test_money_that_was_taken_for_an_order_that_is_then_undone_goes_back(apart: Apart) -> None:
    customer = apart.customer()

    def taken_then_lost(call: Callable[[], Any]) -> Any:
        call()
        apart.harness.settle()
        raise errors.internal("", "the answer was lost")

    apart.faults["Charge"] = [taken_then_lost]
    assert reason(lambda: apart.place(customer, payment_method="pm_instant")) == "INTERNAL"
    apart.settle()

    assert apart.orders(customer) == []
    with psycopg.connect(apart._address) as outside:
        query = "SELECT status, refunded_minor = amount_minor FROM payments.payments WHERE customer_id = %s"
        assert outside.execute(query, [customer]).fetchall() == [("REFUNDED", True)]


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("OrderCancelled", killed),
        ("Void", killed),
        ("Void", killed_after),
        ("Release", killed_after),
    ],
)
def test_a_cancelling_whose_process_ends_is_finished_or_never_began(
    apart: Apart, method: str, fault: Fault
) -> None:
    customer = apart.customer()
    order_id = apart.place(customer).order_id
    apart.settle()
    apart.faults[method] = [fault]
    with pytest.raises(Killed):
        apart.cancel(customer, order_id)

    apart.recover()
    apart.settle()

    began = method != "OrderCancelled"
    status = Order.CANCELLED if began else Order.CREATED
    assert apart.get(customer, order_id).status == status
    assert apart.violations() == []
    assert apart.cancel(customer, order_id).status == Order.CANCELLED


def test_a_repeat_after_all_moved_together_is_the_run_from_before_the_move(apart: Apart) -> None:
    customer = apart.customer()
    apart.faults["Charge"] = [killed_after]
    with pytest.raises(Killed):
        apart.place(customer)
    together = apart.harness.stub(OrdersServiceStub, "local", caller="")

    assert reason(lambda: apart.place(customer, stub=together)) == "WORKFLOW_RUNNING"
    other = "pm_instant"
    assert (
        reason(lambda: apart.place(customer, stub=together, payment_method=other))
        == "REQUEST_ID_REUSED"
    )
    apart.recover()

    (order,) = apart.orders(customer)
    assert apart.place(customer, stub=together).order_id == order.order_id


def hangs(call: Callable[[], Any]) -> Any:
    """As a module that answers nobody: until the time of the call is over."""
    time.sleep(current().time_remaining() or 0)
    raise errors.deadline_exceeded("", "no answer in time")


def test_a_client_that_cannot_wait_gets_the_answer_later_with_the_same_key(apart: Apart) -> None:
    customer = apart.customer()
    apart.faults["Charge"] = [hangs]

    status, problem = apart.post(customer, "later", seconds=1)

    assert status == 409, problem
    (info,) = (each for each in problem["details"] if each["@type"].endswith("ErrorInfo"))
    assert info["reason"] == "WORKFLOW_RUNNING"
    assert info["metadata"]["workflow"] == "orders.place_order"
    again, told = apart.post(customer, "later", seconds=0.5)  # nobody has gone on with it yet
    assert (again, told["details"][0]["metadata"]) == (409, info["metadata"])
    assert apart.orders(customer) == []
    apart.recover()

    status, placed = apart.post(customer, "later", seconds=5)
    assert status == 201, placed
    assert [order.order_id for order in apart.orders(customer)] == [placed["orderId"]]
    assert apart.post(customer, "later", seconds=5) == (201, placed)


def test_a_cancelling_without_payments_goes_on_when_they_are_back(apart: Apart) -> None:
    customer = apart.customer()
    order_id = apart.place(customer).order_id
    apart.faults["Void"] = [down] * 3

    assert reason(lambda: apart.cancel(customer, order_id)) == "WORKFLOW_RUNNING"
    assert apart.get(customer, order_id).status == Order.CANCELLED
    assert apart.recover().finished == 1
    assert apart.cancel(customer, order_id).status == Order.CANCELLED


def test_an_undo_that_is_left_out_is_seen(apart: Apart) -> None:
    """The laws can fail: here a Release that does nothing is planted."""
    customer = apart.customer()
    apart.faults["Charge"] = [refused]
    apart.faults["Release"] = [lambda _: None]
    apart.faults["OrderCancelled"] = [lambda _: ""]  # which would have inventory release by itself

    assert reason(lambda: apart.place(customer)) == "REFUSED"
    apart.settle()

    (found,) = [each for each in apart.violations() if "never placed" in each]
    assert apart.order_ids(customer)[0] in found
    inventory = apart.harness.stub(InventoryServiceStub, "local", caller="orders")
    inventory.Release(ReleaseRequest(reservation_id=apart.order_ids(customer)[0]))
