"""The rules in the contracts reach the validator: what is promised is accepted, what is not is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import protovalidate
import pytest
from commerce.auth.v1.auth_service_pb2 import RegisterRequest
from commerce.catalog.v1.catalog_service_pb2 import BatchGetPricesRequest, CreateProductRequest
from commerce.inventory.v1.inventory_service_pb2 import AdjustStockRequest, ReserveRequest
from commerce.inventory.v1.reservation_pb2 import ReservationLine
from commerce.orders.v1.orders_service_pb2 import (
    GetOrderRequest,
    ItemRequest,
    ListOrdersRequest,
    PlaceOrderRequest,
)
from commerce.payments.v1.payments_service_pb2 import ChargeRequest, ReceiveWebhookRequest
from commerce.payments.v1.webhook_pb2 import WebhookNotification
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import Parse
from google.type.money_pb2 import Money

if TYPE_CHECKING:
    from google.protobuf.message import Message

ORDER = """{"customerId": "usr_8923a10f", "items": [{"productId": "prod_7721", "quantity": 2}],
 "paymentMethod": "pm_visa_9832"}"""
NEWS = """{"paymentId": "pay_8830172d", "orderId": "ord_99018274a", "amount": 149.98,
 "status": "SUCCESS", "timestamp": "2026-05-29T13:07:05Z"}"""


def refused(message: Message) -> set[str]:
    """The paths of the fields that break a rule, without indices."""
    places = [violation.proto.field for violation in protovalidate.collect_violations(message)]
    return {".".join(part.field_name for part in place.elements) for place in places if place}


def order(**changed: object) -> PlaceOrderRequest:
    """The order of the documentation, with some fields changed."""
    request = Parse(ORDER, PlaceOrderRequest())
    request.MergeFrom(PlaceOrderRequest(**changed))  # type: ignore[arg-type]
    return request


def product(units: int, nanos: int, *, currency_code: str = "USD") -> CreateProductRequest:
    """A product for a price."""
    price = Money(units=units, nanos=nanos, currency_code=currency_code)
    return CreateProductRequest(title="Lamp", price=price)


@pytest.mark.parametrize(
    "request_",
    [
        Parse(ORDER, PlaceOrderRequest()),
        order(request_id="basket-42"),
        order(items=[ItemRequest(product_id="prod_1", quantity=10_000)]),
        order(items=[ItemRequest(product_id=f"prod_{n}", quantity=1) for n in range(99)]),
        Parse(NEWS, WebhookNotification()),
        ReceiveWebhookRequest(payload=HttpBody(data=NEWS.encode())),
        GetOrderRequest(order_id="ord_99018274a"),
        ListOrdersRequest(page_size=1_000_000),
        RegisterRequest(email="demo@example.com", password="demo-password", display_name="Demo"),
        product(74, 990_000_000),
        product(0, 10_000_000),
        product(1_000_000, 0),
        AdjustStockRequest(product_id="prod_7721", delta=-1),
    ],
)
def test_a_request_within_its_limits_is_accepted(request_: Message) -> None:
    assert refused(request_) == set()


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (PlaceOrderRequest(), {"customer_id", "items", "payment_method"}),
        (order(items=[ItemRequest(product_id="prod_7721", quantity=1)]), {"items"}),
        (order(items=[ItemRequest(product_id="prod_1", quantity=0)]), {"items.quantity"}),
        (order(items=[ItemRequest(product_id="prod_1", quantity=-1)]), {"items.quantity"}),
        (order(items=[ItemRequest(product_id="prod_1", quantity=10**9)]), {"items.quantity"}),
        (order(items=[ItemRequest(quantity=1)]), {"items.product_id"}),
        (order(items=[ItemRequest(product_id=f"p{n}", quantity=1) for n in range(100)]), {"items"}),
        (order(customer_id="usr 1"), {"customer_id"}),
        (order(customer_id="u" * 65), {"customer_id"}),
        (order(customer_id="usr_1\n"), {"customer_id"}),
        (order(request_id="two words"), {"request_id"}),
        (order(request_id="x" * 129), {"request_id"}),
        (ListOrdersRequest(page_size=-1), {"page_size"}),
        (
            RegisterRequest(email="demo", password="short", display_name="x" * 101),
            {"email", "password", "display_name"},
        ),
        (product(0, 0), {"price"}),
        (product(-1, 0), {"price"}),
        (product(1, -10_000_000), {"price"}),
        (product(1, 1), {"price"}),
        (product(1, 1_000_000_000), {"price"}),
        (product(1_000_000, 10_000_000), {"price"}),
        (product(1, 0, currency_code="usd"), {"price"}),
        (BatchGetPricesRequest(product_ids=["a", "a"], currency_code="USD"), {"product_ids"}),
        (AdjustStockRequest(product_id="prod_7721"), {"delta"}),
        (
            ReserveRequest(
                reservation_id="ord_1",
                lines=[ReservationLine(product_id="prod_1", quantity=1)] * 2,
                hold_seconds=86_401,
            ),
            {"lines", "hold_seconds"},
        ),
        (
            ChargeRequest(payment_id="charge_1", order_id="ord_1", amount=Money()),
            {"payment_id", "customer_id", "amount", "payment_method", "request_id"},
        ),
        (ReceiveWebhookRequest(payload=HttpBody(data=b" " * 65_537)), {"payload"}),
        (ReceiveWebhookRequest(), {"payload"}),
        (
            Parse('{"paymentId": "pay_1", "amount": "NaN", "status": 7}', WebhookNotification()),
            {"order_id", "amount", "status"},
        ),
    ],
)
def test_a_request_beyond_its_limits_names_the_field(request_: Message, fields: set[str]) -> None:
    assert refused(request_) == fields
