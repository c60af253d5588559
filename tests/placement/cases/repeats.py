"""A request that is sent again: by its caller, with a key, by the kernel."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1 import orders_service_pb2_grpc as rpc_grpc

from portico.context import Identity
from portico.rpc.policy import Policy
from portico.testing import parity
from portico.testing.cases import Group
from portico.testing.transports import NEIGHBOUR
from tests.placement.greeting import (
    NO_FUTURES,
    PATIENCE_SECONDS,
    UNCHECKED,
)

if TYPE_CHECKING:
    from portico.testing.transports import Stand


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
GROUPS = [repeats]


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
