"""What a contract's rules refuse, and what a request that is sent again comes to."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from buf.validate import validate_pb2
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1 import orders_service_pb2_grpc as rpc_grpc
from examples.greeter.v1 import greeter_pb2_grpc as stubs
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from portico.context import Identity
from portico.rpc.disabled import add_disabled
from portico.rpc.policy import Policy
from portico.testing import parity
from portico.testing.cases import Group
from portico.testing.transports import MODULE, NEIGHBOUR
from tests.placement.greeting import (
    NO_FUTURES,
    OWN_RULES,
    PATIENCE_SECONDS,
    answered,
    chat,
    gather,
    greeter,
    read,
    repeat,
    say,
    settled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.testing.cases import Script
    from portico.testing.transports import Stand

PACKAGE = "planted.placement.rules.v1"
KINDS = {
    "One": (False, False),
    "Answers": (False, True),
    "Asks": (True, False),
    "Both": (True, True),
}
Field = descriptor_pb2.FieldDescriptorProto


def _plant() -> Any:
    """A contract with an rpc of each kind, and rules on two fields of what they take."""
    file = descriptor_pb2.FileDescriptorProto(
        name="planted/placement/rules.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=["buf/validate/validate.proto"],
    )
    line = file.message_type.add(name="Line")
    for number, (name, kind, rules) in enumerate(
        (
            ("product_id", Field.TYPE_STRING, "string: {min_len: 2}"),
            ("quantity", Field.TYPE_INT32, "int32: {gte: 1, lte: 10}"),
        ),
        1,
    ):
        field = line.field.add(name=name, number=number, type=kind, label=Field.LABEL_OPTIONAL)
        found = text_format.Parse(rules, validate_pb2.FieldRules())
        field.options.Extensions[validate_pb2.field].CopyFrom(found)
    service = file.service.add(name="RulesService")
    for name, (asks, answers) in KINDS.items():
        service.method.add(
            name=name,
            input_type=f".{PACKAGE}.Line",
            output_type=f".{PACKAGE}.Line",
            client_streaming=asks,
            server_streaming=answers,
        )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Line"))


LINE: Any = _plant()
GOOD = LINE(product_id="prod_1", quantity=2)
BAD = LINE(product_id="p", quantity=11)


def _populate_rules(registrar: Any) -> None:
    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(lambda line, _: line, *_SERIALIZERS),
        "Answers": grpc.unary_stream_rpc_method_handler(
            lambda line, _: iter([line, line]), *_SERIALIZERS
        ),
        "Asks": grpc.stream_unary_rpc_method_handler(
            lambda lines, _: LINE(quantity=sum(each.quantity for each in lines)), *_SERIALIZERS
        ),
        "Both": grpc.stream_stream_rpc_method_handler(lambda lines, _: lines, *_SERIALIZERS),
    }
    registrar.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(f"{PACKAGE}.RulesService", handlers),)
    )


_SERIALIZERS = LINE.FromString, LINE.SerializeToString


def _method(stand: Stand, kind: str, name: str) -> Any:
    return getattr(stand.channel, kind)(
        f"/{PACKAGE}.RulesService/{name}", LINE.SerializeToString, LINE.FromString
    )


def _each_kind(*lines: Any) -> Script:
    def script(stand: Stand) -> Any:
        own = {"timeout": PATIENCE_SECONDS}
        one, answers = (
            _method(stand, "unary_unary", "One"),
            _method(stand, "unary_stream", "Answers"),
        )
        asks, both = _method(stand, "stream_unary", "Asks"), _method(stand, "stream_stream", "Both")
        heard: list[str] = []
        return {
            "one": parity.told(lambda: str(one(lines[-1], **own))),
            "future": parity.told(lambda: str(one.future(lines[-1], **own).result())),
            "answers": parity.told(lambda: [str(each) for each in answers(lines[-1], **own)]),
            "asks": parity.told(lambda: str(asks(iter(lines), **own))),
            "both": parity.told(lambda: heard.extend(map(str, both(iter(lines), **own)))),
            "heard": heard,
        }

    return script


UNCHECKED = OWN_RULES | {"servicer": "nothing checks the request of a function"}
validation = Group(name="validation", populate=_populate_rules, stay=True, without=UNCHECKED)
validation.add(
    "of what is good",
    _each_kind(GOOD, GOOD),
    expects={"one.value": str(GOOD), "heard[1]": str(GOOD)},
)
validation.add(
    "of what is not, field by field",
    _each_kind(BAD),
    expects={
        "one.code": "INVALID_ARGUMENT",
        "future.violations[1]": (
            "quantity",
            "must be greater than or equal to 1 and less than or equal to 10",
            "int32.gte_lte",
        ),
        "asks.code": "INVALID_ARGUMENT",
        "both.code": "INVALID_ARGUMENT",
    },
)
validation.add(
    "of a second message of a stream",
    _each_kind(GOOD, BAD),
    expects={"asks.code": "INVALID_ARGUMENT"},
)
validation.add("of an empty message", _each_kind(LINE()), expects={"one.code": "INVALID_ARGUMENT"})


class Orders:
    """Places each order once, whoever asks how often; a quote fails the first time."""

    def __init__(self) -> None:
        self.placed: dict[str, str] = {}
        self.quotes = 0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

    def PlaceOrder(self, request: rpc.PlaceOrderRequest, context: Any) -> rpc.PlaceOrderResponse:
        with self._lock:
            number = self.placed.setdefault(request.request_id, f"ord_{len(self.placed) + 1}")
        return rpc.PlaceOrderResponse(order_id=number)

    def QuoteOrder(self, request: rpc.QuoteOrderRequest, context: Any) -> rpc.QuoteOrderResponse:
        self.quotes += 1
        if self.quotes == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return rpc.QuoteOrderResponse()


def _populate_orders(registrar: Any) -> Orders:
    orders = Orders()
    add: Any = rpc_grpc.add_OrdersServiceServicer_to_server
    add(orders, registrar)
    return orders


ITEM = rpc.ItemRequest(product_id="prod_1", quantity=1)
SIGNED_IN = ("authorization", "usr_1")
repeats = Group(
    name="repeats",
    populate=_populate_orders,
    policy=Policy(authenticate=Identity),
    stay=True,
)
GROUPS = [validation, repeats]


def _order(request_id: str = "") -> rpc.PlaceOrderRequest:
    return rpc.PlaceOrderRequest(
        customer_id="usr_1", items=[ITEM], payment_method="pm_1", request_id=request_id
    )


def _afresh(stand: Stand, caller: str = "") -> rpc_grpc.OrdersServiceStub:
    """A stub for a shop that has no orders yet."""
    stand.servicer.placed.clear()
    stand.servicer.quotes = 0
    return rpc_grpc.OrdersServiceStub(stand.channel_of(caller))


def _place(stub: rpc_grpc.OrdersServiceStub, request_id: str, *keys: str) -> Any:
    metadata = (SIGNED_IN, *(("idempotency-key", key) for key in keys))
    return parity.told(
        lambda: (
            stub.PlaceOrder(
                _order(request_id), metadata=metadata, timeout=PATIENCE_SECONDS
            ).order_id
        )
    )


@repeats.case(expects={"[0].value": "ord_1", "[1].value": "ord_1", "[2].value": "ord_2"})
def of_a_request_are_one_and_another_is_another(stand: Stand) -> Any:
    stub = _afresh(stand)
    return [_place(stub, request_id) for request_id in ("first", "first", "second")]


@repeats.case(expects={"[0].value": "ord_1", "[1].value": "ord_1"}, without=NO_FUTURES)
def of_a_request_at_the_same_time_are_one(stand: Stand) -> Any:
    stub = _afresh(stand)
    options: Any = {"metadata": (SIGNED_IN,), "timeout": PATIENCE_SECONDS}
    futures = [stub.PlaceOrder.future(_order("first"), **options) for _ in range(4)]
    return [parity.told(partial(_order_id, each)) for each in futures]


def _order_id(future: Any) -> str:
    return str(future.result().order_id)


@repeats.case(
    expects={"[0].value": "ord_1", "[1].value": "ord_1", "[2].value": "ord_2"}, without=UNCHECKED
)
def are_known_by_the_key_in_the_metadata_too(stand: Stand) -> Any:
    stub = _afresh(stand)
    return [_place(stub, "", "first"), _place(stub, "first"), _place(stub, "", "second")]


@repeats.case(
    expects={"reason": "IDEMPOTENCY_KEY_DIFFERS", "code": "INVALID_ARGUMENT"}, without=UNCHECKED
)
def with_two_names_are_refused(stand: Stand) -> Any:
    return _place(_afresh(stand), "first", "second")


@repeats.case(expects={"reason": "INVALID_IDEMPOTENCY_KEY"}, without=UNCHECKED)
def with_a_key_that_is_none_are_refused(stand: Stand) -> Any:
    return _place(_afresh(stand), "", "two words")


@repeats.case(
    expects={"outcome.value": "", "quotes": 2},
    without=dict.fromkeys(
        ("plain", "raw", "front", "servicer", "local", "shared"),
        "only a call between processes is tried again: none is lost on the way elsewhere",
    ),
)
def are_made_by_the_kernel_where_the_contract_says_that_nothing_happens(stand: Stand) -> Any:
    stub = _afresh(stand, NEIGHBOUR)
    request, seconds = rpc.QuoteOrderRequest(items=[ITEM]), PATIENCE_SECONDS
    outcome = parity.told(
        lambda: str(stub.QuoteOrder(request, metadata=(SIGNED_IN,), timeout=seconds))
    )
    return {"outcome": outcome, "quotes": stand.servicer.quotes}


def _populate_disabled(registrar: Any) -> None:
    add_disabled(registrar._registry, MODULE, [stubs.add_GreeterServiceServicer_to_server])


disabled = Group(name="disabled modules", populate=_populate_disabled, stay=True, without=OWN_RULES)
GROUPS.append(disabled)
SAID = {"code": "UNIMPLEMENTED", "reason": "MODULE_DISABLED", "metadata.module": MODULE}
CALLS: dict[str, Callable[[Any], Any]] = {
    "SayHello": lambda stub: parity.told(lambda: stub.SayHello(say(), timeout=5).message),
    "SayHello.with_call": lambda stub: parity.told(
        lambda: answered(*stub.SayHello.with_call(say(), timeout=5))
    ),
    "Gather": lambda stub: parity.told(lambda: stub.Gather(gather("a"), timeout=5).message),
    "SayHello.future": lambda stub: settled(stub.SayHello.future(say(), timeout=5)),
    "Repeat": lambda stub: read(stub.Repeat(repeat("", 2), timeout=5)),
    "Chat": lambda stub: read(stub.Chat(chat("a"), timeout=5)),
}


def _disabled(call: Callable[[Any], Any]) -> Script:
    return lambda stand: call(greeter(stand))


for name, call in CALLS.items():
    where = {"SayHello.future": "result.", "Repeat": "end.", "Chat": "end."}.get(name, "")
    disabled.add(
        f"{name} says why",
        _disabled(call),
        expects={f"{where}{path}": value for path, value in SAID.items()},
        without=NO_FUTURES if name.endswith("future") else None,
    )
