"""Applications made up for one test: a shop whose code is given, and the neighbours that it calls.

What the check shall say is written behind the line that it shall say it of: ``# error: TEXT`` or
``# note: TEXT``, several with ``;`` between them.
"""

from __future__ import annotations

import importlib
import itertools
import re
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from commerce.auth.v1 import auth_service_pb2_grpc as auth
from commerce.catalog.v1 import catalog_service_pb2_grpc as catalog
from commerce.inventory.v1 import inventory_service_pb2_grpc as inventory
from commerce.payments.v1 import payments_service_pb2_grpc as payments

from portico import Application, Module
from portico.check.split import report
from portico.check.split.finding import Finding
from portico.check.split.report import Report

HEAD = """
from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from commerce.orders.v1 import orders_service_pb2_grpc as own
from commerce.payments.v1 import payments_service_pb2 as messages
from commerce.payments.v1.events_pb2 import PaymentFailed, PaymentSucceeded
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub
from sqlalchemy import Connection

from portico import Module
from portico.data import Database
from portico.events import reacts_to
from portico.workflow import Step, Wait, Workflow, Workflows, step_key


@dataclass
class State:
    order_id: str
    pieces: list[int]
    note: str | None = None
"""

SHOP = """
class Shop(own.OrdersServiceServicer):
    def __init__(
        self,
        *,
        database: Database,
        workflows: Workflows,
        auth: AuthServiceStub,
        catalog: CatalogServiceStub,
        inventory: InventoryServiceStub,
        payments: PaymentsServiceStub,
    ) -> None:
        self._database = database
        self._workflows = workflows
        self._auth = auth
        self._catalog = catalog
        self._inventory = inventory
        self._payments = payments
        self._workflow = workflows.define(
            Workflow(name="shop.place", version=1, steps=[{steps}]), state={state}
        )
"""

MANIFEST = """
MODULE = Module(
    name="shop",
    provides={own.add_OrdersServiceServicer_to_server: Shop},
    requires=(AuthServiceStub, CatalogServiceStub, InventoryServiceStub, PaymentsServiceStub),
    reactions=[each for each in [globals().get("Reactions")] if each],
    owns_data=True,
)
"""

STEPS = 'Step("all", lambda state: None)'

_NEIGHBOURS: dict[str, tuple[Any, type]] = {
    "auth": (auth.add_AuthServiceServicer_to_server, auth.AuthServiceServicer),
    "catalog": (catalog.add_CatalogServiceServicer_to_server, catalog.CatalogServiceServicer),
    "inventory": (
        inventory.add_InventoryServiceServicer_to_server,
        inventory.InventoryServiceServicer,
    ),
    "payments": (payments.add_PaymentsServiceServicer_to_server, payments.PaymentsServiceServicer),
}
_MARK = re.compile(r"(error|note): ([^;]+)")
_numbers = itertools.count()


class Planted:
    """An application on disk and imported; ``files`` are the modules of one package, by name."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.name = f"planted_{next(_numbers)}"
        self._folder = folder / self.name
        for name, text in files.items():
            path = self._folder / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("PACKAGE", self.name))
        found = [importlib.import_module(f"{self.name}.{name}") for name in files]
        own = [module.MODULE for module in found if hasattr(module, "MODULE")]
        names = {module.name for module in own}
        others = [
            Module(name=name, provides={add: servicer}, owns_data=True)
            for name, (add, servicer) in _NEIGHBOURS.items()
            if name not in names
        ]
        self.application = Application(name="planted", modules=[*others, *own])

    def report(self, move: str = "payments", *, to: str | None = None) -> Report:
        return report(self.application, move, to=to)

    def check(self, move: str = "payments") -> list[Finding]:
        """What is found when ``move`` moves; it must be what is written in the code, and no more."""
        found = self.report(move).findings
        told = {(each.file, each.line, each.severity, each.text) for each in found}
        marks = set(self._marks())
        met = {
            (path, line, severity)
            for path, line, severity, word in marks
            if any((path, line, severity) == each[:3] and word in each[3] for each in told)
        }
        assert {each[:3] for each in marks} == met, list(map(str, found))
        assert {each[:3] for each in told} == met, list(map(str, found))
        return list(found)

    def _marks(self) -> list[tuple[Path, int, str, str]]:
        return [
            (path, number, severity, word.strip())
            for path in self._folder.rglob("*.py")
            for number, line in enumerate(path.read_text().splitlines(), 1)
            for severity, word in _MARK.findall(line.partition("  # ")[2])
        ]


def shop(body: str, *, steps: str = STEPS, state: str = "State", more: str = "") -> dict[str, str]:
    """The shop with the methods in ``body``, in one file; ``more`` comes before its class."""
    class_ = SHOP.format(steps=steps, state=state) + "\n" + indent(dedent(body), "    ")
    return {"shop": HEAD + "\n\n" + dedent(more) + "\n\n" + class_ + "\n\n" + MANIFEST}
