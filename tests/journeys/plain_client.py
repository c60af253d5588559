"""An order with grpcio and the generated code alone: ``python plain_client.py HOST:PORT``.

Writes what it saw as one JSON object. Run by a test in a process of its own, so that nothing of ours can
slip in.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import time
from typing import Any

import grpc
from commerce.auth.v1.auth_service_pb2 import LogInRequest
from commerce.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from commerce.orders.v1.order_pb2 import Order
from commerce.orders.v1.orders_service_pb2 import (
    CancelOrderRequest,
    GetOrderRequest,
    ItemRequest,
    ListOrdersRequest,
    PlaceOrderRequest,
)
from commerce.orders.v1.orders_service_pb2_grpc import OrdersServiceStub
from commerce.payments.v1.payments_service_pb2 import ChargeRequest, ReceiveWebhookRequest
from commerce.payments.v1.payments_service_pb2_grpc import PaymentsServiceStub
from google.api.httpbody_pb2 import HttpBody
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status


def main(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        sys.stdout.write(json.dumps(journey(channel)))


def journey(channel: grpc.Channel) -> dict[str, Any]:
    token = (
        AuthServiceStub(channel)
        .LogIn(LogInRequest(email="demo@example.com", password="demo-password"))
        .access_token
    )
    signed_in = (("authorization", f"Bearer {token}"),)
    orders, payments = OrdersServiceStub(channel), PaymentsServiceStub(channel)
    request = PlaceOrderRequest(
        customer_id="usr_8923a10f",
        items=[ItemRequest(product_id="prod_7721", quantity=2)],
        payment_method="pm_visa_9832",
        request_id=f"plain-{time.time_ns()}",
    )

    placed = orders.PlaceOrder(request, metadata=signed_in)
    again = orders.PlaceOrder(request, metadata=signed_in)
    get = GetOrderRequest(order_id=placed.order_id)
    before = orders.GetOrder(get, metadata=signed_in)
    answer = pay(payments, before)
    repeated = pay(payments, before)
    while (order := orders.GetOrder(get, metadata=signed_in)).status == Order.CREATED:
        time.sleep(0.01)

    listed = orders.ListOrders(ListOrdersRequest(page_size=1), metadata=signed_in)
    cancelled = orders.CancelOrder(CancelOrderRequest(order_id=placed.order_id), metadata=signed_in)
    none = PlaceOrderRequest()
    none.CopyFrom(request)
    none.request_id, none.items[0].quantity = "", 0
    return {
        "placed": [placed.status, placed.total_amount, placed.created_at.nanos],
        "same": again == placed,
        "status": [before.status, order.status, cancelled.status],
        "webhook": answer == repeated,
        "listed": listed.orders[0] == order,
        "refusals": {
            "nobody": refusal(lambda: orders.GetOrder(get)),
            "unknown": refusal(
                lambda: orders.GetOrder(GetOrderRequest(order_id="ord_none"), metadata=signed_in)
            ),
            "nothing": refusal(lambda: orders.PlaceOrder(none, metadata=signed_in)),
            "internal": refusal(lambda: payments.Charge(ChargeRequest(), metadata=signed_in)),
            "forged": refusal(
                lambda: payments.ReceiveWebhook(notification(before, "whsec_guess")[0])
            ),
        },
        "ours": sorted(
            name for name in sys.modules if name.startswith(("portico.rpc", "emporium"))
        ),
    }


def pay(payments: PaymentsServiceStub, order: Order) -> Any:
    request, metadata = notification(order, "whsec_demo")
    return payments.ReceiveWebhook(request, metadata=metadata)


def notification(order: Order, secret: str) -> tuple[ReceiveWebhookRequest, tuple[tuple[str, str]]]:
    content = {
        "paymentId": order.payment_id,
        "orderId": order.order_id,
        "amount": order.total_amount,
        "status": "SUCCESS",
        "timestamp": "2026-05-29T13:07:05Z",
    }
    body, at = json.dumps(content).encode(), int(time.time())
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    payload = HttpBody(content_type="application/json", data=body)
    return ReceiveWebhookRequest(payload=payload), (("x-webhook-signature", f"t={at},v1={digest}"),)


def refusal(call: Any) -> list[Any]:
    """Code, reason and faulty fields of the error that the call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        info, faults = ErrorInfo(), BadRequest()
        sent: Any = error.trailing_metadata()
        for detail in Status.FromString(dict(sent)["grpc-status-details-bin"]).details:
            detail.Unpack(info)
            detail.Unpack(faults)
        return [error.code().name, info.reason, [each.field for each in faults.field_violations]]
    return ["OK", "", []]


if __name__ == "__main__":
    main(sys.argv[1])
