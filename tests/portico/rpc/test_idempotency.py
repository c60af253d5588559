"""The idempotency key as metadata: what REST's header does, for every caller of gRPC."""

from __future__ import annotations

from typing import Any

import pytest
from commerce.orders.v1 import orders_service_pb2 as rpc
from commerce.orders.v1 import orders_service_pb2_grpc as rpc_grpc

from portico import LocalChannel, StatusError
from portico.context import Identity
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry


class Echo:
    """Answers with the request's id where a caller can see it."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

    def PlaceOrder(self, request: rpc.PlaceOrderRequest, context: Any) -> rpc.PlaceOrderResponse:
        return rpc.PlaceOrderResponse(order_id=request.request_id)

    def QuoteOrder(self, request: rpc.QuoteOrderRequest, context: Any) -> rpc.QuoteOrderResponse:
        return rpc.QuoteOrderResponse()


def _stub(**options: Any) -> rpc_grpc.OrdersServiceStub:
    registry = Registry()
    add: Any = rpc_grpc.add_OrdersServiceServicer_to_server
    add(Echo(), registry.registrar("orders"))
    policy = Policy(authenticate=lambda _: Identity("usr_1"))
    return rpc_grpc.OrdersServiceStub(LocalChannel(registry, policy=policy, **options))


def _order(**fields: Any) -> rpc.PlaceOrderRequest:
    item = rpc.ItemRequest(product_id="prod_1", quantity=1)
    return rpc.PlaceOrderRequest(customer_id="usr_1", items=[item], payment_method="pm_1", **fields)


def _placed(stub: rpc_grpc.OrdersServiceStub, request: rpc.PlaceOrderRequest, *keys: str) -> str:
    metadata = (("authorization", "x"), *(("idempotency-key", key) for key in keys))
    return stub.PlaceOrder(request, metadata=metadata).order_id


def test_the_key_names_a_request_that_has_no_name() -> None:
    assert _placed(_stub(), _order(), "first") == "first"


def test_without_a_key_the_request_keeps_its_own_name() -> None:
    assert _placed(_stub(), _order(request_id="mine")) == "mine"
    assert _placed(_stub(), _order(request_id="mine"), "mine") == "mine"


def test_a_key_that_differs_from_the_name_is_refused() -> None:
    with pytest.raises(StatusError) as refused:
        _placed(_stub(), _order(request_id="mine"), "other")
    assert refused.value.reason == "IDEMPOTENCY_KEY_DIFFERS"
    assert refused.value.violations[0].field == "request_id"


@pytest.mark.parametrize("key", ["", "two words", "x" * 129])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(StatusError) as refused:
        _placed(_stub(), _order(), key)
    assert refused.value.reason == "INVALID_IDEMPOTENCY_KEY"


@pytest.mark.parametrize("share", [False, True])
def test_the_callers_message_is_left_alone(share: bool) -> None:
    request = _order()
    _placed(_stub(share=share), request, "first")
    assert request.request_id == ""


def test_a_query_takes_no_key() -> None:
    quote = rpc.QuoteOrderRequest(items=[rpc.ItemRequest(product_id="prod_1", quantity=1)])
    metadata = (("authorization", "x"), ("idempotency-key", "two words"))
    _stub().QuoteOrder(quote, metadata=metadata)


def test_a_module_names_its_own_requests() -> None:
    stub = _stub(caller="subscriptions")
    assert _placed(stub, _order(request_id="step/1"), "ignored") == "step/1"


def test_the_key_is_held_to_the_rules_of_the_name() -> None:
    """It is filled in before validation, as a gateway does it: a contract means one thing everywhere."""
    long = "x" * 128
    assert _placed(_stub(), _order(), long) == long
    with pytest.raises(StatusError) as refused:
        _stub().PlaceOrder(rpc.PlaceOrderRequest(), metadata=(("idempotency-key", "first"),))
    assert refused.value.reason == "SIGN_IN_REQUIRED"
