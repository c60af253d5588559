"""What a move makes of workflows: what they lack to be sagas. Each planted lack is found, its harmless twin is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.portico.check.planting import Planted, shop

Plant = Callable[[dict[str, str]], Planted]

METHODS = {
    "read": """
        with self._database.reading():
            pass
    """,
    "write": """
        from portico.workflow import under_way
        with self._database.unit_of_work():
            pass
    """,
    "unwrite": """
        with self._database.unit_of_work():
            pass
    """,
    "charge": """
        self._payments.Charge(messages.ChargeRequest(request_id=step_key()))
    """,
    "void": """
        self._payments.Void(1)  # note: no request_id
    """,
    "reserve": """
        self._inventory.Reserve(1)
    """,
    "release": """
        self._inventory.Release(1)
    """,
}
WRITE = 'Step("write", self._write)'
UNWRITE = 'Step("write", self._write, undo=self._unwrite)'
READ = 'Step("read", self._read)'
CHARGE = 'Step("pay", self._charge, at=PaymentsServiceStub)'
VOID = 'Step("pay", self._charge, undo=self._void, at=PaymentsServiceStub)'
RESERVE = 'Step("stock", self._reserve, at=InventoryServiceStub)'
RELEASE = 'Step("stock", self._reserve, undo=self._release, at=InventoryServiceStub)'


def methods(steps: str, *, lacking: tuple[str, ...] = ()) -> str:
    """Those that the steps name; of the ``lacking`` it shall be told that they have no undo."""
    return "\n".join(
        f"def _{name}(self, state):{'  # error: has no undo' if name in lacking else ''}{body}"
        for name, body in METHODS.items()
        if f"self._{name}" in steps
    )


@pytest.mark.parametrize(
    ("steps", "lacking"),
    [
        ((UNWRITE, VOID, READ), ()),
        ((UNWRITE, CHARGE), ()),
        ((WRITE, CHARGE), ("write",)),
        ((READ, CHARGE), ()),
        ((WRITE.replace(")", ", pivot=True)"), CHARGE), ()),
        ((CHARGE, WRITE), ("charge",)),
        ((VOID, WRITE), ()),
        ((CHARGE.replace(", at", ", pivot=True, at"), WRITE), ()),
        ((WRITE, RESERVE, CHARGE), ("write", "reserve")),
        ((CHARGE, UNWRITE.replace("undo", "pivot=True, undo")), ("charge",)),
        ((WRITE, RESERVE), ()),
        ((UNWRITE, RELEASE), ()),
    ],
    ids=[
        "undone",
        "last",
        "own work that stays",
        "nothing to undo",
        "no way back from own work",
        "a command that stays",
        "a command that is undone",
        "no way back from a command",
        "in the transaction of a neighbour",
        "a pivot that comes too late",
        "one transaction as before",
        "one transaction as before, with undos that never run",
    ],
)
def test_what_is_committed_has_a_way_back(
    steps: tuple[str, ...], lacking: tuple[str, ...], plant: Plant
) -> None:
    told = ", ".join(steps)
    plant(shop(methods(told, lacking=lacking), steps=told)).check()


LACKS = {
    "no at": (
        'Step("pay", self._pay)',
        """
        def _pay(self, state):
            self._payments.Charge(step_key())  # error: says at=
        """,
    ),
    "the at of another": (
        'Step("pay", self._pay, at=InventoryServiceStub)',
        """
        def _pay(self, state):
            self._payments.Charge(step_key())  # error: says at=
        """,
    ),
    "a unit of work around the call": (
        'Step("pay", self._pay, at=PaymentsServiceStub)',
        """
        def _pay(self, state):
            with self._database.unit_of_work():  # error: Make a step of its own
                self._payments.Charge(dict(request_id=1))  # error: CALL_INSIDE_TRANSACTION
        """,
    ),
    "two modules": (
        'Step("pay", self._pay, at=PaymentsServiceStub)',
        """
        def _pay(self, state):
            self._payments.Charge(dict(request_id=1))
            self._inventory.Reserve(1)  # error: Reserve of inventory too
            self._catalog.GetProduct(1)  # note: GetProduct of catalog too
        """,
    ),
    "only asking, and changing": (
        'Step("pay", self._pay, at=PaymentsServiceStub, query=True)',
        """
        def _pay(self, state):  # note: out of date
            self._payments.Charge(dict(request_id=1))  # error: says query=True
        """,
    ),
    "an answer that was part of the transaction": (
        'Step("ask", self._ask, at=PaymentsServiceStub, query=True)',
        """
        def _ask(self, state):  # note: out of date
            self._payments.GetPayment(1)
        """,
    ),
    "a request without its id": (
        'Step("pay", self._pay, at=PaymentsServiceStub)',
        """
        def _pay(self, state):
            self._payments.Charge(messages.ChargeRequest(order_id="1"))  # error: without a request_id
        """,
    ),
    "a request with its id": (
        'Step("pay", self._pay, at=PaymentsServiceStub)',
        """
        def _pay(self, state):
            request = messages.ChargeRequest()
            request.request_id = step_key()
            self._payments.Charge(request)
        """,
    ),
    "a lambda": (
        """
        Step(
            "pay",
            lambda state: self._payments.Charge(state),  # error: without a request_id
            at=PaymentsServiceStub,
        )
        """,
        "",
    ),
    "a partial": (
        'Step("pay", partial(self._pay, 1), at=PaymentsServiceStub)',
        """
        def _pay(self, number, state):
            self._payments.Charge(state)  # error: without a request_id
        """,
    ),
    "source that is not to be found": (
        """
        Step("pay", self._pay, at=PaymentsServiceStub, undo=print)
        """,
        """
        def _pay(self, state):  # note: look for yourself
            self._payments.Charge(dict(request_id=1))
        """,
    ),
    "rows in between": (
        'Step("write", self._write, undo=self._write), Step("pay", self._pay, at=PaymentsServiceStub)',
        """
        def _write(self, state):  # note: under_way()
            with self._database.unit_of_work():
                pass

        def _pay(self, state):
            self._payments.Charge(dict(request_id=1))
        """,
    ),
}


@pytest.mark.parametrize(("steps", "body"), LACKS.values(), ids=LACKS)
def test_a_step_is_looked_at(steps: str, body: str, plant: Plant) -> None:
    plant(shop(body, steps=steps)).check()


def test_a_step_may_be_a_function_inside_the_constructor(plant: Plant) -> None:
    [(name, text)] = shop("", steps='Step("pay", pay, at=PaymentsServiceStub)').items()
    defined = """        def pay(state):
            payments.Charge(state)  # error: without a request_id

"""
    before = "        self._workflow = workflows.define("
    plant({name: text.replace(before, defined + before)}).check()


def test_a_command_that_may_happen_twice_is_no_step_of_a_saga(plant: Plant) -> None:
    body = """
        def _refresh(self, state):
            self._auth.Refresh(dict(request_id=1))  # error: IDEMPOTENT
    """
    steps = 'Step("refresh", self._refresh, at=AuthServiceStub)'
    plant(shop(body, steps=steps)).check("auth")


RUNS = {
    "in an rpc": """
        def PlaceOrder(self, request, context):
            self._workflows.run(self._workflow, request, key="1")
    """,
    "in a unit of work": """
        def PlaceOrder(self, request, context):
            with self._database.unit_of_work():
                self._place(request)

        def _place(self, request):
            self._workflows.run(self._workflow, request, key="1")  # error: shop.place is started
    """,
}


@pytest.mark.parametrize("body", RUNS.values(), ids=RUNS)
def test_a_saga_is_started_outside_of_transactions(body: str, plant: Plant) -> None:
    pay = """
        def _pay(self, state):
            self._payments.Charge(dict(request_id=1))
    """
    planted = plant(shop(body + pay, steps='Step("pay", self._pay, at=PaymentsServiceStub)'))
    planted.check()
    assert planted.report("inventory").findings == []


def test_a_saga_is_not_started_by_a_reaction_in_its_transaction(plant: Plant) -> None:
    more = """
        class Reactions:
            def __init__(self, *, shop: Shop) -> None:
                self._shop = shop

            @reacts_to(PaymentFailed)
            def on_failed(self, event, session):
                self._shop.place(event)

            @reacts_to(PaymentSucceeded, in_transaction=False)
            def on_succeeded(self, event):
                self._shop.place(event)
    """
    body = """
        def place(self, state):
            self._workflows.run(self._workflow, state, key="1")  # error: Reactions.on_failed)

        def _pay(self, state):
            self._payments.Charge(dict(request_id=1))
    """
    steps = 'Step("pay", self._pay, at=PaymentsServiceStub)'
    plant(shop(body, steps=steps, more=more)).check()


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ("a: str; b: int; c: float; d: bool; e: None", ""),
        ("a: list[dict[str, int | None]]; b: dict[str, Any]", ""),
        ("a: datetime", "a"),
        ("a: tuple[int, ...]", "a"),
        ("a: list[bytes]", "a"),
        ("a: int; b: set[str] | None", "b"),
        ("a: State", "a"),
    ],
)
def test_a_state_is_plain_data(fields: str, refused: str, plant: Plant) -> None:
    lines = "\n".join(f"    {each.strip()}" for each in fields.split(";"))
    mark = f"  # error: the field {refused}," if refused else ""
    body = f"""
        def _pay(self, state):{mark}
            self._payments.Charge(dict(request_id=1))
    """
    steps = 'Step("pay", self._pay, at=PaymentsServiceStub)'
    plant(shop(body, steps=steps, state="Told", more=f"@dataclass\nclass Told:\n{lines}\n")).check()
