"""What is refused when an application runs is what ``portico check split`` says before, and nothing else."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import punq
import pytest
from commerce.catalog.v1 import catalog_service_pb2_grpc as catalog
from commerce.catalog.v1.catalog_service_pb2 import GetProductRequest
from commerce.catalog.v1.product_pb2 import Product
from commerce.inventory.v1 import inventory_service_pb2_grpc as inventory
from commerce.inventory.v1.inventory_service_pb2 import ReleaseRequest, ReleaseResponse
from examples.greeter.v1 import greeter_pb2 as pb
from examples.greeter.v1 import greeter_pb2_grpc as greeter
from pydantic import SecretStr
from sqlalchemy import URL

from portico import Application, Module, Program
from portico.check.split import report
from portico.data import Database
from portico.rpc.status import from_rpc_error
from portico.telemetry import logs
from portico.workflow import Step, Workflow, Workflows

TOPOLOGY = (
    '[processes.desk]\nmodules = ["desk"]\nfront = true\n[processes.store]\nmodules = ["store"]\n'
)
MIGRATION = """
from alembic import op
from portico.events import schema as events
from portico.workflow import schema as workflows

revision = "0001"
down_revision = None


def upgrade() -> None:
    events.create_v1(op, "desk")
    events.add_elsewhere_v1(op, "desk")
    workflows.create_v1(op, "desk")
"""

OUTSIDE = "COMMAND_OUTSIDE_WORKFLOW"
INSIDE = "CALL_INSIDE_TRANSACTION"


class Products(catalog.CatalogServiceServicer):
    def GetProduct(self, request: Any, context: Any) -> Product:
        return Product(product_id=request.product_id)


class Stock(inventory.InventoryServiceServicer):
    def Release(self, request: Any, context: Any) -> ReleaseResponse:
        return ReleaseResponse()


@dataclass
class Nothing:
    """The state of a workflow without any."""


class Flows:
    """One workflow that says where its step is, and one that forgot to."""

    def __init__(self, *, workflows: Workflows, stock: inventory.InventoryServiceStub) -> None:
        self._workflows = workflows
        self._stock = stock
        safe = Step("stock", self._release, at=inventory.InventoryServiceStub)
        self.safe = workflows.define(Workflow("desk.safe", 1, [safe]), state=Nothing)
        unsafe = Step("stock", self._release_somewhere)
        self.unsafe = workflows.define(Workflow("desk.unsafe", 1, [unsafe]), state=Nothing)

    def run_safe(self, key: str) -> None:
        self._workflows.run(self.safe, Nothing(), key=key)

    def run_unsafe(self, key: str) -> None:
        self._workflows.run(self.unsafe, Nothing(), key=key)

    def _release(self, state: Nothing) -> None:
        self._stock.Release(ReleaseRequest(reservation_id="ord_1"))

    def _release_somewhere(self, state: Nothing) -> None:
        self._stock.Release(ReleaseRequest(reservation_id="ord_1"))


class Desk(greeter.GreeterServiceServicer):
    """Does what it is asked to by name."""

    def __init__(
        self,
        *,
        database: Database,
        flows: Flows,
        products: catalog.CatalogServiceStub,
        stock: inventory.InventoryServiceStub,
    ) -> None:
        self._database = database
        self._flows = flows
        self._products = products
        self._stock = stock

    def SayHello(self, request: pb.SayHelloRequest, context: Any) -> pb.SayHelloResponse:
        ways: dict[str, Callable[[], object]] = {
            "ask": self._ask,
            "ask_while_reading": self._ask_while_reading,
            "ask_in_transaction": self._ask_in_transaction,
            "order": self._order,
            "order_in_transaction": self._order_in_transaction,
            "step": self._step,
            "step_in_transaction": self._step_in_transaction,
            "step_without_at": self._step_without_at,
        }
        ways[request.name]()
        return pb.SayHelloResponse(message="done")

    def _ask(self) -> None:
        self._products.GetProduct(GetProductRequest(product_id="prod_1"))

    def _ask_while_reading(self) -> None:
        with self._database.reading():
            self._products.GetProduct(GetProductRequest(product_id="prod_1"))

    def _ask_in_transaction(self) -> None:
        with self._database.unit_of_work():
            self._products.GetProduct(GetProductRequest(product_id="prod_1"))

    def _order(self) -> None:
        self._stock.Release(ReleaseRequest(reservation_id="ord_1"))

    def _order_in_transaction(self) -> None:
        with self._database.unit_of_work():
            self._stock.Release(ReleaseRequest(reservation_id="ord_1"))

    def _step(self) -> None:
        self._flows.run_safe("step")

    def _step_in_transaction(self) -> None:
        with self._database.unit_of_work():
            self._flows.run_safe("inside")

    def _step_without_at(self) -> None:
        self._flows.run_unsafe("lost")


def _wire(container: punq.Container) -> None:
    container.register(Flows)


DESK = Module(
    name="desk",
    provides={greeter.add_GreeterServiceServicer_to_server: Desk},
    requires=(catalog.CatalogServiceStub, inventory.InventoryServiceStub),
    owns_data=True,
    wire=_wire,
)
STORE = Module(
    name="store",
    provides={
        catalog.add_CatalogServiceServicer_to_server: Products,
        inventory.add_InventoryServiceServicer_to_server: Stock,
    },
)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Application:
    folder = tmp_path_factory.mktemp("safety")
    versions = folder / "migrations" / "desk" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001_desk.py").write_text(MIGRATION)
    (folder / "apart.toml").write_text(TOPOLOGY)
    return Application(
        name="safety",
        modules=[STORE, DESK],
        migrations=folder / "migrations",
        topologies=folder,
    )


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Errors that are provoked here go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    logs.configure(level="error", descriptor=nowhere)
    yield
    logs.configure(level="warning")
    os.close(nowhere)


def ask(program: Program, name: str) -> str:
    """What came of it: ``done``, or why not."""
    with grpc.insecure_channel(program.grpc_address) as channel:
        try:
            answer = greeter.GreeterServiceStub(channel).SayHello(
                pb.SayHelloRequest(name=name), timeout=30
            )
        except grpc.RpcError as refusal:
            found = from_rpc_error(refusal)
            return found.reason or found.code().name
    return str(answer.message)


@pytest.fixture(scope="module")
def running(
    application: Application, database_url: URL
) -> Iterator[Callable[[str | None], Program]]:
    """The desk's process, with all others of the topology; each topology is started once."""
    started: dict[str | None, Program] = {}
    url = database_url.set(drivername="postgresql").render_as_string(hide_password=False)

    def run(topology: str | None) -> Program:
        if topology not in started:
            started[topology] = _started(application, topology, url, stack)["desk"]
        return started[topology]

    with ExitStack() as stack:
        yield run


def _started(
    application: Application, topology: str | None, url: str, stack: ExitStack
) -> dict[str, Program]:
    file = None if topology is None else Path(topology)
    processes = application.topology(file).processes
    addresses = {name: f"127.0.0.1:{_free_port()}" for name in processes}
    found = {}
    for process in processes:
        settings = application.settings_class()(
            topology=file,
            process="" if file is None else process,
            addresses={} if file is None else addresses,
            hop_secret=SecretStr("the same in all processes"),
            grpc_port=0,
            http_port=0,
            database_url=url,
        )
        program = Program(application, settings)
        program.migrate()
        program.start()
        stack.callback(program.stop)
        found["desk" if file is None else process] = program
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


EVERYWHERE = {"ask": "done", "ask_while_reading": "done", "order": OUTSIDE, "step": "done"}
TOGETHER = EVERYWHERE | {
    "ask_in_transaction": "done",
    "order_in_transaction": OUTSIDE,
    "step_in_transaction": "done",
    "step_without_at": "done",
}
APART = EVERYWHERE | {
    "ask_in_transaction": INSIDE,
    "order_in_transaction": INSIDE,
    "step_in_transaction": "INTERNAL",
    "step_without_at": INSIDE,
}


@pytest.mark.parametrize(("topology", "expected"), [(None, TOGETHER), ("apart", APART)])
def test_what_would_lose_atomicity_is_refused(
    topology: str | None,
    expected: dict[str, str],
    running: Callable[[str | None], Program],
) -> None:
    desk = running(topology)

    assert {name: ask(desk, name) for name in expected} == expected


def test_the_check_finds_what_is_refused_apart_and_nothing_else(application: Application) -> None:
    found = report(application, "store").findings
    errors = {_method_at(each.line) for each in found if each.severity == "error"}
    notes = {_method_at(each.line) for each in found if each.severity == "note"}

    refused = {f"_{name}" for name, outcome in APART.items() if outcome != "done"}
    assert errors == refused - {"_step_without_at", "_step_in_transaction"} | {
        "_release_somewhere",  # what the step without at does
        "run_safe",  # what is started in a transaction
    }
    assert notes >= {"_ask_while_reading", "_release"}


def _method_at(line: int) -> str:
    """The method of this file around a line."""
    methods = [
        (inspect.getsourcelines(method)[1], name)
        for kind in (Flows, Desk)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
    ]
    return max(each for each in methods if each[0] <= line)[1]
