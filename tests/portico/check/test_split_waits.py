"""What a move makes of waits: ``take`` and ``late`` run in the transaction of own steps, and are judged as those."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.portico.check.planting import Planted, shop

Plant = Callable[[dict[str, str]], Planted]

WAIT = 'Wait("paid", seconds=60, take=self._take, late=self._late)'
OPEN = 'Step("open", self._open)'
CHARGE = 'Step("pay", self._charge, at=PaymentsServiceStub)'
VOID = 'Step("pay", self._charge, undo=self._void, at=PaymentsServiceStub)'

NOTES = """
def _open(self, state):
    state.note = "open"

def _take(self, state, value):
    state.note = value

def _late(self, state):
    state.note = "late"
"""
CHARGES = """
def _charge(self, state):
    self._payments.Charge(messages.ChargeRequest(request_id=step_key()))

def _void(self, state):
    self._payments.Void(1)  # note: no request_id
"""

CASES = {
    "notes alone": ((OPEN, WAIT), NOTES),
    "notes before a payment": ((OPEN, WAIT, CHARGE), NOTES + CHARGES.partition("def _void")[0]),
    "nothing to note": (
        ('Wait("paid", seconds=60)', CHARGE),
        CHARGES.partition("def _void")[0],
    ),
    "a query when it has come": (
        (WAIT,),
        """
        def _take(self, state, value):
            state.note = self._payments.GetPayment(value)  # error: transaction of the workflow's own steps

        def _late(self, state):
            pass
        """,
    ),
    "a command when it is late": (
        (OPEN, WAIT),
        """
        def _open(self, state):
            pass

        def _take(self, state, value):
            pass

        def _late(self, state):
            self._give_up(state)

        def _give_up(self, state):
            self._payments.Void(1)  # error: Give it a step of its own
        """,
    ),
    "calls in lambdas": (
        (
            """
            Wait(
                "paid",
                seconds=60,
                take=lambda state, value: self._payments.GetPayment(value),  # error: CALL_INSIDE_TRANSACTION
                late=lambda state: self._payments.Void(1),  # error: CALL_INSIDE_TRANSACTION
            )
            """,
        ),
        "",
    ),
    "a call to one who stays": (
        (WAIT,),
        """
        def _take(self, state, value):
            self._inventory.Reserve(1)

        def _late(self, state):
            pass
        """,
    ),
    "rows that nobody would take back": (
        (OPEN, WAIT, CHARGE),
        """
        def _open(self, state):
            pass

        def _take(self, state, value):  # error: Let it note in the state
            with self._database.unit_of_work():
                pass

        def _late(self, state):
            pass

        def _charge(self, state):
            self._payments.Charge(messages.ChargeRequest(request_id=step_key()))
        """,
    ),
    "source that is not to be found": (
        ('Wait("paid", seconds=60, take=self._take, late=print)', CHARGE),
        """
        def _take(self, state, value):  # note: look for yourself; error: has no undo
            pass

        def _charge(self, state):
            self._payments.Charge(messages.ChargeRequest(request_id=step_key()))
        """,
    ),
    "own work that is committed before the wait": (
        (VOID, OPEN, WAIT),
        CHARGES
        + """
def _open(self, state):  # error: is committed before step paid
    with self._database.unit_of_work():
        pass

def _take(self, state, value):
    pass

def _late(self, state):
    pass
""",
    ),
    "own work behind the wait": (
        (VOID, WAIT, OPEN),
        CHARGES
        + """
def _open(self, state):
    with self._database.unit_of_work():
        pass

def _take(self, state, value):
    pass

def _late(self, state):
    pass
""",
    ),
}


@pytest.mark.parametrize(("steps", "body"), CASES.values(), ids=CASES)
def test_a_wait_is_looked_at(steps: tuple[str, ...], body: str, plant: Plant) -> None:
    plant(shop(body, steps=", ".join(steps))).check()


def test_what_a_wait_does_is_not_done_where_it_is_defined(plant: Plant) -> None:
    body = """
        def _take(self, state, value):
            self._payments.Void(1)  # error: CALL_INSIDE_TRANSACTION
    """
    [(name, text)] = shop(body, steps="paid").items()
    defined = '        paid = Wait("paid", seconds=60, take=self._take)\n'
    before = "        self._workflow = workflows.define("

    found = plant({name: text.replace(before, defined + before)}).check()

    assert [each.text.rpartition("(")[2] for each in found] == ["step paid of shop.place)"]


def test_a_wait_is_told_in_the_report(plant: Plant) -> None:
    steps = f"{OPEN}, {VOID}, Step('close', self._open), {WAIT}, Step('end', self._open)"

    told = list(plant(shop(NOTES + CHARGES, steps=steps)).report().lines())

    assert any(line.endswith("a saga of 3 own transactions and 1 call") for line in told)
    assert any(
        line.split() == ["paid", *["waits", "60", "s", "at", "the", "most"]] for line in told
    )
