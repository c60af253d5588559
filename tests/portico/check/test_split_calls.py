"""What a move makes of single calls. Each planted one is found, and its harmless twin is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.portico.check.planting import HEAD, MANIFEST, STEPS, Planted, shop

Plant = Callable[[dict[str, str]], Planted]

QUERIES = {
    "in a unit of work": """
        def GetOrder(self, request, context):
            with self._database.unit_of_work() as session:
                self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION
    """,
    "in one of several contexts": """
        def GetOrder(self, request, context):
            with open("x"), self._database.unit_of_work():
                self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION
    """,
    "before and after a unit of work": """
        def GetOrder(self, request, context):
            self._payments.GetPayment(request)
            with self._database.unit_of_work():
                pass

        def ListOrders(self, request, context):
            with self._database.unit_of_work():
                pass
            self._payments.GetPayment(request)
    """,
    "of a module that stays": """
        def GetOrder(self, request, context):
            with self._database.unit_of_work():
                self._catalog.GetProduct(request)
    """,
    "deep in a method": """
        def GetOrder(self, request, context):
            with self._database.unit_of_work() as session:
                return self._found(session)

        def _found(self, session):
            return self._asked()

        def _asked(self):
            return self._payments.GetPayment(1)  # error: rpc GetOrder
    """,
    "in a unit of work that another method opens": """
        @contextmanager
        def _locked(self) -> Iterator[Connection]:
            with self._database.unit_of_work() as session:
                yield session

        def _plain(self):
            return self._database.unit_of_work()

        def GetOrder(self, request, context):
            with self._locked():
                self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION

        def ListOrders(self, request, context):
            with self._plain():
                self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION
    """,
    "in a unit of work that is entered by hand": """
        def GetOrder(self, request, context):
            with ExitStack() as stack:
                self._payments.GetPayment(request)
                stack.enter_context(self._database.unit_of_work())
                if request:
                    self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION; note: after another
    """,
    "in a unit of work that has a name, or may be none": """
        def GetOrder(self, request, context):
            unit = self._database.unit_of_work()
            with unit:
                self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION

        def ListOrders(self, request, context):
            with self._database.unit_of_work() if request else nullcontext():
                self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION
    """,
    "in a unit of work that a class or a decorator opens": """
        def GetOrder(self, request, context):
            with Locked(self._database):
                self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION

        @locked
        def ListOrders(self, request, context):
            self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION
    """,
    "by a class that is derived from the one that opens a unit of work": """
        def GetOrder(self, request, context):
            template: Template = Detailed(self._database, self._payments)
            template.run()
    """,
    "by a function inside a function": """
        def GetOrder(self, request, context):
            def ask():
                return self._payments.GetPayment(request)  # error: rpc GetOrder

            def silent():
                return self._catalog.GetProduct(request)

            with self._database.unit_of_work():
                return ask() or silent()
    """,
    "while reading": """
        def GetOrder(self, request, context):
            with self._database.reading():
                self._payments.GetPayment(request)  # note: a connection is held
    """,
    "twice in one request": """
        def GetOrder(self, request, context):
            self._payments.GetPayment(request)
            self._payments.GetOutstandingBalance(request)  # note: after another query

        def ListOrders(self, request, context):
            self._payments.GetPayment(request)
    """,
    "in a loop": """
        def ListOrders(self, request, context):
            for each in request.ids:
                self._payments.GetPayment(each)  # note: turn of a loop

        def GetOrder(self, request, context):
            return [self._payments.GetPayment(each) for each in request]  # note: turn of a loop

        def QuoteOrder(self, request, context):
            return [each for each in self._payments.GetPayment(request).lines]
    """,
    "by a function that nothing calls, in a transaction that it is given": """
        def loose(self, session: Connection):
            self._payments.GetPayment(1)  # error: nothing that was found calls

        def free(self):
            self._payments.GetPayment(1)
    """,
}


OPENERS = """
class Locked:
    def __init__(self, database: Database) -> None:
        self._work = database.unit_of_work()

    def __enter__(self):
        return self._work.__enter__()

    def __exit__(self, *error):
        return self._work.__exit__(*error)


def locked(method):
    def inner(self, request, context):
        with self._database.unit_of_work():
            return method(self, request, context)

    return inner


class Template:
    def __init__(self, database: Database, payments: PaymentsServiceStub) -> None:
        self._database = database
        self._payments = payments

    def run(self) -> None:
        with self._database.unit_of_work():
            self.inside()

    def inside(self) -> None:
        pass


class Detailed(Template):
    def inside(self) -> None:
        self._payments.GetPayment(1)  # error: rpc GetOrder
"""


@pytest.mark.parametrize("body", QUERIES.values(), ids=QUERIES)
def test_a_query_is_looked_at(body: str, plant: Plant) -> None:
    more = OPENERS if "Template" in body else OPENERS.partition("class Detailed")[0]
    plant(shop(body, more=more)).check()


COMMANDS = {
    "in an rpc": """
        def PlaceOrder(self, request, context):
            self._payments.Charge(request)  # error: COMMAND_OUTSIDE_WORKFLOW
    """,
    "in a transaction": """
        def PlaceOrder(self, request, context):
            with self._database.unit_of_work():
                self._payments.Charge(request)  # error: CALL_INSIDE_TRANSACTION; error: COMMAND_OUTSIDE_WORKFLOW
    """,
    "by a helper of a step and of an rpc": """
        def _pay(self, state):
            self._void()

        def _void(self):
            self._payments.Void(1)  # error: rpc CancelOrder; note: no request_id

        def CancelOrder(self, request, context):
            self._void()
    """,
}


@pytest.mark.parametrize("body", COMMANDS.values(), ids=COMMANDS)
def test_a_command_is_for_steps_alone(body: str, plant: Plant) -> None:
    steps = 'Step("pay", self._pay, at=PaymentsServiceStub)' if "_pay(" in body else STEPS
    plant(shop(body, steps=steps)).check()


DISGUISES = {
    "a future": "self._payments.Charge.future(request)",
    "with_call": "self._payments.Charge.with_call(request)",
    "a function handed on": "list(map(self._payments.Charge, request))",
    "a partial": "partial(self._payments.Charge, request)()",
    "a lambda": "(lambda: self._payments.Charge(request))()",
    "a stub out of a table": "self._table[1].Charge(request)",
    "something unknown": "request.stub.Charge(request)",
    "a stub made by hand": "PaymentsServiceStub(request.channel).Charge(request)",
    "a choice": "(self._payments.Charge if request else None)(request)",
    "a name": 'getattr(request, "Charge")(request)',
    "a walrus": "(stub := self._payments).Charge(request)",
    "a star": "print(*self._payments.Charge(request))",
    "an f-string": 'print(f"{self._payments.Charge(request)}")',
    "a module's function": "charge(self._payments)",
    "a port": "Desk(self._payments).tell()",
    "a class of its own": "Till(self._payments).pay()",
}
FUNCTIONS = """
def charge(payments: PaymentsServiceStub) -> None:
    payments.Charge(1){mark}


class Till:
    def __init__(self, stub: "PaymentsServiceStub | None") -> None:
        self._charge = stub.Charge

    def pay(self) -> None:
        self._charge(1){mark}


class Charging(Protocol):
    def Charge(self, request: Any) -> Any: ...


class Desk:
    def __init__(self, charging: Charging) -> None:
        self._charging = charging

    def tell(self) -> None:
        self._charging.Charge(1){mark}
"""


@pytest.mark.parametrize("call", DISGUISES.values(), ids=DISGUISES)
def test_a_command_is_known_in_every_disguise(call: str, plant: Plant) -> None:
    mark = "  # error: COMMAND_OUTSIDE_WORKFLOW"
    is_elsewhere = any(name in call for name in ("charge(", "Till(", "Desk("))
    body = f"def PlaceOrder(self, request, context):\n    {call}{'' if is_elsewhere else mark}\n"
    plant(shop(body, more=FUNCTIONS.format(mark=mark))).check()


def test_what_only_bears_the_name_of_an_rpc_is_none(plant: Plant) -> None:
    body = """
        def PlaceOrder(self, request, context):
            self.Charge(messages.Charge)
            Drawer().Charge(request)

        def Charge(self, request):
            pass
    """
    more = "class Drawer:\n    def Charge(self, request):\n        pass\n"
    plant(shop(body, more=more)).check()


def test_a_reaction_in_its_transaction_asks_nobody_elsewhere(plant: Plant) -> None:
    more = """
        class Reactions:
            def __init__(self, *, payments: PaymentsServiceStub) -> None:
                self._payments = payments

            @reacts_to(PaymentFailed)
            def on_failed(self, event, session):
                self._payments.GetPayment(event)  # error: in_transaction=False

            @reacts_to(PaymentSucceeded, in_transaction=False)
            def on_succeeded(self, event):
                self._payments.GetPayment(event)
    """
    found = plant(shop("", more=more)).report()

    assert [each.severity for each in found.findings] == ["error"]
    assert "reaction Reactions.on_failed" in found.findings[0].text
    assert [*found.events] == [
        ("payments", "shop", "PaymentFailed"),
        ("payments", "shop", "PaymentSucceeded"),
    ]


CATALOG = """
class Catalog(catalog.CatalogServiceServicer):
    def __init__(self, *, payments: PaymentsServiceStub) -> None:
        self._payments = payments

    def GetProduct(self, request, context):
        return self._payments.GetPayment(request)  # error: rpc GetOrder

    def ListProducts(self, request, context):
        return self._payments.GetPayment(request)


MODULE = Module(
    name="catalog",
    provides={catalog.add_CatalogServiceServicer_to_server: Catalog},
    requires=(PaymentsServiceStub,),
    owns_data=True,
)
"""


def test_a_transaction_reaches_into_the_neighbours_that_stay(plant: Plant) -> None:
    files = shop("""
        def GetOrder(self, request, context):
            with self._database.unit_of_work():
                self._catalog.GetProduct(request)
    """)
    head = HEAD + "from commerce.catalog.v1 import catalog_service_pb2_grpc as catalog\n"
    plant(files | {"catalog": head + CATALOG}).check()


def test_no_further_than_its_process(plant: Plant) -> None:
    files = shop("""
        def GetOrder(self, request, context):
            with self._database.unit_of_work():
                self._catalog.GetProduct(request)  # error: GetProduct of catalog
    """)
    head = HEAD + "from commerce.catalog.v1 import catalog_service_pb2_grpc as catalog\n"
    silent = CATALOG.replace("# error: rpc GetOrder", "")
    plant(files | {"catalog": head + silent}).check("catalog")


def test_the_code_is_followed_through_all_files_of_a_package(plant: Plant) -> None:
    service = (
        HEAD
        + """
from PACKAGE import till
from .desk import Desk


class Shop(own.OrdersServiceServicer):
    def __init__(self, *, database: Database, payments: PaymentsServiceStub) -> None:
        self._database = database
        self._desk = Desk(payments)

    def GetOrder(self, request, context):
        with self._database.unit_of_work():
            self._desk.drawer().open()

    def ListOrders(self, request, context):
        till.count(request)
"""
        + MANIFEST
    )
    files = {
        "shop": service,
        "desk.__init__": "from PACKAGE.desk.drawer import Desk\n\n__all__ = ['Desk']\n",
        "desk.drawer": HEAD
        + """
class Desk:
    stubs: dict[str, PaymentsServiceStub]

    def __init__(self, payments: PaymentsServiceStub) -> None:
        self._payments = payments

    def drawer(self) -> Drawer:
        return Drawer(self._payments)


class Drawer:
    def __init__(self, stub: PaymentsServiceStub) -> None:
        self.stub: PaymentsServiceStub = stub

    def open(self) -> None:
        self.stub.GetPayment(1)  # error: rpc GetOrder
""",
        "till": "def count(stub):\n    stub.Refund(1)  # error: COMMAND_OUTSIDE_WORKFLOW\n",
    }
    plant(files).check()


def test_the_module_that_moves_is_looked_at_as_its_callers_are(plant: Plant) -> None:
    plant(
        shop("""
        def GetOrder(self, request, context):
            with self._database.unit_of_work():
                self._catalog.GetProduct(request)  # error: CALL_INSIDE_TRANSACTION
                self._payments.GetPayment(request)  # error: CALL_INSIDE_TRANSACTION
    """)
    ).check("shop")
