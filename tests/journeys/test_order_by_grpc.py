"""The same order by clients that know the contract and nothing else."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from commerce.orders.v1.order_pb2 import Order
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from tests.journeys.served import Served

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_ORDERS = "commerce.orders.v1.OrdersService"


def test_grpcio_and_the_generated_code_are_enough(served: Served) -> None:
    done = subprocess.run(
        [sys.executable, _HERE / "plain_client.py", served.grpc],
        env=os.environ | {"PYTHONPATH": str(_ROOT / "generated")},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    assert json.loads(done.stdout) == {
        "placed": [Order.CREATED, 149.98, 0],
        "same": True,
        "status": [Order.CREATED, Order.PAID, Order.CANCELLED],
        "webhook": True,
        "listed": True,
        "refusals": {
            "nobody": ["UNAUTHENTICATED", "SIGN_IN_REQUIRED", []],
            "unknown": ["NOT_FOUND", "ORDER_NOT_FOUND", []],
            "nothing": ["INVALID_ARGUMENT", "INVALID_REQUEST", ["items[0].quantity"]],
            "internal": ["PERMISSION_DENIED", "INTERNAL_METHOD", []],
            "forged": ["UNAUTHENTICATED", "WEBHOOK_SIGNATURE_INVALID", []],
        },
        "ours": [],
    }


class Buf:
    """``buf curl`` with reflection: it knows nothing but the address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.token = ""

    def call(self, method: str, message: Any) -> tuple[int, Any]:
        """Exit code (the gRPC code times 8) and the answer or the error, both as JSON."""
        header = ["-H", f"Authorization: Bearer {self.token}"] if self.token else []
        done = subprocess.run(
            [
                Path(sys.executable).parent / "buf",
                "curl",
                "--protocol",
                "grpc",
                "--http2-prior-knowledge",
                *header,
                "-d",
                json.dumps(message),
                f"http://{self._address}/{method}",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, json.loads(done.stdout or done.stderr)

    def answer(self, method: str, message: Any) -> Any:
        """The answer of a call that succeeds."""
        code, answer = self.call(method, message)
        assert code == 0, answer
        return answer


def said(details: Any) -> list[str]:
    """Reasons and faulty fields out of the details, which buf leaves in binary."""
    found = []
    for each in details:
        value = base64.b64decode(each["value"] + "==")
        if each["type"] == ErrorInfo.DESCRIPTOR.full_name:
            found.append(ErrorInfo.FromString(value).reason)
        else:
            found += [fault.field for fault in BadRequest.FromString(value).field_violations]
    return found


@pytest.fixture
def buf(served: Served) -> Buf:
    buf = Buf(served.grpc)
    login = {"email": "demo@example.com", "password": "demo-password"}
    buf.token = buf.answer("commerce.auth.v1.AuthService/LogIn", login)["accessToken"]
    return buf


def test_buf_curl_places_an_order_by_reflection(buf: Buf) -> None:
    basket = {
        "customerId": "usr_8923a10f",
        "items": [{"productId": "prod_7721", "quantity": 2}],
        "paymentMethod": "pm_visa_9832",
    }

    placed = buf.answer(f"{_ORDERS}/PlaceOrder", basket)
    order = buf.answer(f"{_ORDERS}/GetOrder", {"orderId": placed["orderId"]})

    assert (placed["status"], placed["totalAmount"]) == ("CREATED", 149.98)
    assert order["paymentId"] == placed["paymentId"]
    assert order["createdAt"] == placed["createdAt"]


@pytest.mark.parametrize(
    ("method", "message", "code", "reason"),
    [
        ("GetOrder", {"orderId": "ord_none"}, grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"),
        (
            "QuoteOrder",
            {"items": [{"productId": "prod_none", "quantity": 1}]},
            grpc.StatusCode.NOT_FOUND,
            "PRODUCT_NOT_FOUND",
        ),
        ("QuoteOrder", {}, grpc.StatusCode.INVALID_ARGUMENT, "items"),
    ],
)
def test_buf_curl_reads_a_refusal_with_its_reason(
    buf: Buf, method: str, message: Any, code: grpc.StatusCode, reason: str
) -> None:
    exit_code, answer = buf.call(f"{_ORDERS}/{method}", message)

    assert exit_code == code.value[0] * 8
    assert answer["code"] == code.value[1].replace(" ", "_")
    assert reason in said(answer["details"])


def test_buf_curl_is_told_to_sign_in(served: Served) -> None:
    exit_code, answer = Buf(served.grpc).call(f"{_ORDERS}/ListOrders", {})

    assert exit_code == grpc.StatusCode.UNAUTHENTICATED.value[0] * 8
    assert answer["code"] == "unauthenticated"
