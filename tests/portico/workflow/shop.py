"""A shop, its depot and its bank: three modules, each with a schema and connections of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from sqlalchemy import URL, NullPool, create_engine, text

from portico import errors
from portico.clock import ManualClock
from portico.context import current
from portico.data import Database
from portico.workflow import (
    Recovery,
    Step,
    Workflow,
    Workflows,
    WorkflowSettings,
    step_key,
)

SETTINGS = WorkflowSettings(
    step_timeout_seconds=2, step_delay_seconds=0.002, wait_seconds=2, forward_attempts=3
)
MODULES = ("shop", "depot", "bank")


Fault = Callable[[Callable[[], object]], object]
"""What befalls a call; it is given what the call would do."""


class Killed(BaseException):
    """What stands in for the end of the process: nothing of the kernel's catches it."""


class DepotStub:
    """Stands for the generated stub of the depot."""


class BankStub:
    """Stands for the generated stub of the bank."""


class Operations:
    """What a migration gives to the kernel's functions."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url, poolclass=NullPool)

    def execute(self, sqltext: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(sqltext))


@dataclass
class Buying:
    """The state of ``shop.buy``."""

    order: str
    goods: list[str]
    price: int = 0
    receipt: str = ""


class Neighbour:
    """A module elsewhere: ``do`` and ``undo`` by id, safe to repeat, in transactions of its own.

    ``faults`` are met one call after the other: an error before anything happens, or with ``lost`` one
    that hides what has happened.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.seen: list[Any] = []

    def do(self, thing: str, request_id: str) -> None:
        self._call(lambda: self._do(thing, request_id))

    def undo(self, thing: str) -> None:
        self._call(lambda: self._write(thing, "undone", "undo"))

    def ask(self) -> None:
        self._call(lambda: None)

    def _call(self, work: Callable[[], object]) -> None:
        call = current()
        assert call.transaction is None, "called while a transaction was open"
        assert call.deadline is not None, "called without a deadline"
        assert call.step is not None
        self.seen.append((call.identity, call.request_id, call.step.module))
        if self.faults:
            self.faults.pop(0)(work)
        else:
            work()

    def _do(self, thing: str, request_id: str) -> None:
        self.requests.append(request_id)
        if self._write(thing, "done", request_id) == "undone":
            raise errors.failed_precondition("GIVEN_UP", "undone before it came")

    def _write(self, thing: str, status: str, request_id: str) -> str:
        row = {"thing": thing, "status": status, "request": request_id}
        change = "EXCLUDED.status" if status == "undone" else "things.status"
        statement = (
            f"INSERT INTO {self._database.schema}.things AS things (thing, status, request) "
            "VALUES (:thing, :status, :request) ON CONFLICT (thing) DO UPDATE "
            f"SET status = {change}, times = things.times + 1 RETURNING status"
        )
        with self._database.unit_of_work() as session:
            return str(session.execute(text(statement), row).scalar_one())


def down(_: Callable[[], object]) -> None:
    """Cannot be reached; whether it was, the caller cannot know."""
    raise errors.unavailable("", "cannot be reached")


def lost(work: Callable[[], object]) -> None:
    """Does it, and the answer is lost."""
    work()
    raise errors.unavailable("", "the answer was lost")


def refused(_: Callable[[], object]) -> None:
    raise errors.failed_precondition("SOLD_OUT", "there is none left", thing="tea")


def shut(_: Callable[[], object]) -> None:
    raise errors.unavailable("CIRCUIT_OPEN", "not even tried")


def killed(_: Callable[[], object]) -> None:
    raise Killed


def killed_after(work: Callable[[], object]) -> None:
    work()
    raise Killed


@dataclass
class Shop:
    """Orders goods from the depot and takes money through the bank."""

    database: Database
    depot: Neighbour
    bank: Neighbour
    clock: ManualClock
    is_local: Callable[[type], bool] = lambda _: False
    faults: dict[str, Callable[[], None]] = field(default_factory=dict)
    leave_out: str = ""
    settings: WorkflowSettings = SETTINGS
    workflow: Workflow[Buying] = field(init=False)
    workflows: Workflows = field(init=False)

    def __post_init__(self) -> None:
        steps = [
            Step("price", self._price, at=BankStub, query=True),
            Step("order", self._order, undo=self._cancel),
            Step("goods", self._goods, undo=self._release, at=DepotStub),
            Step("money", self._money, undo=self._void, at=BankStub),
            Step("announce", self._announce),
        ]
        self.workflow = Workflow("shop.buy", 1, steps, subject=lambda state: state.order)
        self.workflows = self.process()

    def process(self) -> Workflows:
        """Another process of the shop."""
        workflows = Workflows(
            module="shop",
            database=self.database,
            clock=self.clock,
            is_local=self.is_local,
            settings=self.settings,
        )
        workflows.define(self.workflow, state=Buying)
        return workflows

    def buy(self, order: str = "", *, key: str = "") -> Buying:
        order = order or str(uuid4())
        return self.workflows.run(self.workflow, Buying(order, ["tea"]), key=key or order)

    def recover(self, *, seconds: float = 100) -> Recovery:
        """Let leases end and have another process finish what is left."""
        self.clock.advance(seconds=seconds)
        recovery = Recovery([self.process()], settings=SETTINGS)
        recovery.settle()
        return recovery

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        with self.database.reading() as session:
            return list(session.execute(text(statement), parameters))

    def run_of(self, order: str) -> Any:
        (run,) = self.rows("SELECT * FROM shop.workflow_runs WHERE subject = :order", order=order)
        return run

    def _price(self, state: Buying) -> None:
        self.bank.ask()
        state.price = 7

    def _order(self, state: Buying) -> None:
        self._write(state, "ordered")
        self._fault("order")

    def _cancel(self, state: Buying) -> None:
        self._write(state, "cancelled")
        self._fault("cancel")

    def _goods(self, state: Buying) -> None:
        self.depot.do(state.order, step_key())

    def _release(self, state: Buying) -> None:
        if self.leave_out != "release":
            self.depot.undo(state.order)

    def _money(self, state: Buying) -> None:
        self.bank.do(state.order, step_key())
        state.receipt = f"receipt of {state.order}"

    def _void(self, state: Buying) -> None:
        self.bank.undo(state.order)

    def _announce(self, state: Buying) -> None:
        assert state.receipt
        self._write(state, "announced")
        self._fault("announce")

    def _fault(self, place: str) -> None:
        fault = self.faults.pop(place, None)
        if fault is not None:
            fault()

    def _write(self, state: Buying, what: str) -> None:
        with self.database.unit_of_work() as session:
            row = {"order": state.order, "what": what, "price": state.price}
            session.execute(text("INSERT INTO shop.diary VALUES (:order, :what, :price)"), row)


def diary(shop: Shop, order: str) -> list[str]:
    """What the shop itself wrote about an order."""
    rows = shop.rows('SELECT what FROM shop.diary WHERE "order" = :order', order=order)
    return sorted(row.what for row in rows)


def violations(shop: Shop, order: str) -> list[str]:
    """What is wrong once everything has come to rest: all of it was done once, or nothing is left of it."""
    found = []
    statuses = {
        each: [
            row.status
            for row in _rows_of(neighbour, "SELECT status FROM {} WHERE thing = :order", order)
        ]
        for each, neighbour in (("depot", shop.depot), ("bank", shop.bank))
    }
    written = diary(shop, order)
    if "announced" in written:
        if written != ["announced", "ordered"]:
            found.append(f"announced, but {written}")
        found += [f"{name}: {have}" for name, have in statuses.items() if have != ["done"]]
    else:
        if written not in ([], ["cancelled", "ordered"]):
            found.append(f"not announced, but {written}")
        found += [f"{name}: {have}" for name, have in statuses.items() if "done" in have]
    for run in shop.rows(
        "SELECT status FROM shop.workflow_runs WHERE subject = :order", order=order
    ):
        if run.status != ("DONE" if "announced" in written else "UNDONE"):
            found.append(f"the log says {run.status}, but {written}")
    return found


def _rows_of(neighbour: Neighbour, statement: str, order: str) -> list[Any]:
    database = neighbour._database
    with database.reading() as session:
        query = text(statement.format(f"{database.schema}.things"))
        return list(session.execute(query, {"order": order}))
