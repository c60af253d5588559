"""An order over REST, from log-in to payment, and everything that is refused on the way."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.journeys import invariants
from tests.journeys.served import Served
from tests.journeys.shopper import (
    DEMO,
    Answer,
    Shopper,
    new_key,
    notification,
    request,
    signature,
    webhook,
)

_PATIENCE_SECONDS = 10


def until(shopper: Shopper, order_id: str, status: str) -> Any:
    """The order once it has the status; events are delivered within moments."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (order := shopper.order(order_id))["status"] != status:
        assert time.monotonic() < deadline, order
        time.sleep(0.01)
    return order


def until_stock(shopper: Shopper, product_id: str, expected: tuple[int, int]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (found := shopper.stock(product_id)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


@pytest.fixture
def lamp(admin: Shopper) -> str:
    """A product of which there are ten, and which nobody else buys."""
    product = admin.send(
        "POST",
        "/api/v1/products",
        {"title": "Lamp", "price": {"currencyCode": "USD", "units": "12", "nanos": 500000000}},
    )
    assert product.status == 201, product
    product_id: str = product.json["productId"]
    adjusted = admin.send("POST", f"/api/v1/inventory/{product_id}:adjust", {"delta": 10})
    assert adjusted.status == 200, adjusted
    return product_id


def test_the_contract_holds_to_the_letter(served: Served) -> None:
    log_in = request(
        served.rest,
        "POST",
        "/api/v1/auth/login",
        {"email": "demo@example.com", "password": "demo-password"},
    )
    placed = request(
        served.rest,
        "POST",
        "/api/v1/orders",
        b'{"customerId": "usr_8923a10f", "items": [{"productId": "prod_7721", "quantity": 2}], '
        b'"paymentMethod": "pm_visa_9832"}',
        {"Authorization": f"Bearer {log_in.json['accessToken']}"},
    )

    assert log_in.status == 200
    assert log_in.json["userId"] == DEMO
    assert {"accessToken", "refreshToken", "expiresIn"} < log_in.json.keys()
    assert placed.status == 201
    assert re.fullmatch(r"ord_[0-9a-z]{26}", placed.json["orderId"])
    assert placed.json["status"] == "CREATED"
    assert placed.json["totalAmount"] == 149.98
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", placed.json["createdAt"])
    assert placed.json["total"] == {"currencyCode": "USD", "units": "149", "nanos": 980000000}


def test_the_amount_is_printed_as_149_98(demo: Shopper) -> None:
    import http.client
    import json
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(demo.rest).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {demo.token}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/orders", json.dumps(demo.basket()), headers)
    body = connection.getresponse().read()
    connection.close()

    assert re.search(rb'"totalAmount": ?149\.98[,}]', body)


def test_an_order_is_placed_and_paid_and_its_stock_leaves(demo: Shopper, lamp: str) -> None:
    key = new_key()
    placed = demo.place(lamp, 2, Idempotency_Key=key)
    assert (placed.status, placed.json["status"]) == (201, "CREATED")

    again = demo.place(lamp, 2, Idempotency_Key=key)
    assert (again.status, again.json) == (placed.status, placed.json)
    other = demo.place(lamp, 3, Idempotency_Key=key)
    assert (other.status, other.reason) == (409, "REQUEST_ID_REUSED")
    assert "Idempotency-Key" in other.json["message"]
    assert demo.stock(lamp) == (10, 2)

    order = demo.order(placed.json["orderId"])
    assert (order["status"], order["customerId"]) == ("CREATED", DEMO)
    assert order["paymentId"] == placed.json["paymentId"]
    assert [item["quantity"] for item in order["items"]] == [2]

    body = notification(order)
    told = webhook(demo.rest, body, signature(body))
    assert (told.status, told.json) == (
        200,
        {"paymentId": order["paymentId"], "status": "SUCCEEDED"},
    )
    paid = until(demo, order["orderId"], "PAID")
    until_stock(demo, lamp, (8, 0))

    again_told = webhook(demo.rest, body, signature(body))
    assert (again_told.status, again_told.json) == (told.status, told.json)
    assert demo.order(order["orderId"]) == paid
    assert demo.stock(lamp) == (8, 0)
    listed = demo.send("GET", "/api/v1/orders?pageSize=1").json
    assert listed["orders"] == [paid]
    assert listed["nextPageToken"]


def test_a_webhook_that_is_not_the_providers_changes_nothing(demo: Shopper) -> None:
    order = demo.order(demo.place().json["orderId"])
    body = notification(order)
    forged = {
        "wrong secret": signature(body, secret="whsec_guess"),
        "other body": signature(body + b" "),
        "too old": signature(body, age_seconds=301),
        "from the future": signature(body, age_seconds=-301),
        "nonsense": "t=now,v1=nothing",
        "empty": "",
        "missing": None,
    }

    answers = {name: webhook(demo.rest, body, signed) for name, signed in forged.items()}

    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(forged, 401)
    assert answers["too old"].reason == "WEBHOOK_EXPIRED"
    assert answers["wrong secret"].reason == "WEBHOOK_SIGNATURE_INVALID"
    assert demo.order(order["orderId"]) == order


@pytest.mark.parametrize("amount", [149.97, 149.99, 1, 0, 14998])
def test_a_webhook_with_another_amount_is_a_conflict_and_leaves_the_order(
    demo: Shopper, amount: float
) -> None:
    order = demo.order(demo.place().json["orderId"])
    body = notification(order, amount=amount)

    answer = webhook(demo.rest, body, signature(body))

    assert (answer.status, answer.reason) == (409, "AMOUNT_MISMATCHED")
    assert demo.order(order["orderId"]) == order


def test_a_webhook_of_an_unknown_payment_is_not_found(demo: Shopper) -> None:
    order = demo.order(demo.place().json["orderId"])

    for wrong in ({"paymentId": "pay_none"}, {"orderId": "ord_none"}):
        body = notification(order, **wrong)
        answer = webhook(demo.rest, body, signature(body))
        assert (answer.status, answer.reason) == (404, "PAYMENT_NOT_FOUND")


def test_a_webhook_that_comes_eight_times_at_once_pays_once(
    demo: Shopper, served: Served, lamp: str
) -> None:
    order = demo.order(demo.place(lamp, 1).json["orderId"])
    body = notification(order)
    signed = signature(body)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: webhook(demo.rest, body, signed), range(8)))

    assert [answer.status for answer in answers] == [200] * 8
    until(demo, order["orderId"], "PAID")
    until_stock(demo, lamp, (9, 0))
    with served.database() as outside:
        assert invariants.violations(outside) == []


def test_a_declined_payment_cancels_the_order_and_frees_its_stock(demo: Shopper, lamp: str) -> None:
    order = demo.order(demo.place(lamp, 3).json["orderId"])
    body = notification(order, status="FAILED")

    assert webhook(demo.rest, body, signature(body)).status == 200

    assert until(demo, order["orderId"], "CANCELLED")["cancelReason"] == "PAYMENT_FAILED"
    until_stock(demo, lamp, (10, 0))


def test_a_method_that_is_confirmed_at_once_needs_no_webhook(demo: Shopper, lamp: str) -> None:
    body = demo.basket(lamp, 1, paymentMethod="pm_instant")
    placed = demo.send("POST", "/api/v1/orders", body)

    until(demo, placed.json["orderId"], "PAID")
    until_stock(demo, lamp, (9, 0))


def test_a_method_that_is_declined_cancels_the_order(demo: Shopper, lamp: str) -> None:
    body = demo.basket(lamp, 1, paymentMethod="pm_declined")
    placed = demo.send("POST", "/api/v1/orders", body)

    until(demo, placed.json["orderId"], "CANCELLED")
    until_stock(demo, lamp, (10, 0))


def test_a_cancelled_order_gives_everything_back(demo: Shopper, lamp: str) -> None:
    created, paid = demo.place(lamp, 2).json, demo.place(lamp, 3).json
    body = notification(demo.order(paid["orderId"]))
    webhook(demo.rest, body, signature(body))
    until(demo, paid["orderId"], "PAID")

    answers = [
        demo.send("POST", f"/api/v1/orders/{order['orderId']}:cancel", {})
        for order in (created, paid, paid)
    ]

    assert [answer.status for answer in answers] == [200] * 3
    assert {answer.json["status"] for answer in answers} == {"CANCELLED"}
    until_stock(demo, lamp, (10, 0))
    states = [
        demo.send("GET", f"/api/v1/payments/{order['paymentId']}").json["status"]
        for order in (created, paid)
    ]
    assert states == ["VOIDED", "REFUNDED"]


def order_with(demo: Shopper, **changed: Any) -> Answer:
    return demo.send("POST", "/api/v1/orders", demo.basket(**changed))


@pytest.mark.parametrize(
    ("changed", "status", "reason"),
    [
        ({"product_id": "prod_none"}, 404, "PRODUCT_NOT_FOUND"),
        ({"paymentMethod": "pm_none"}, 404, "PAYMENT_METHOD_NOT_FOUND"),
        ({"customerId": "usr_admin"}, 403, "CUSTOMER_MISMATCH"),
        ({"product_id": "prod_6644", "quantity": 10_000}, 400, "INSUFFICIENT_STOCK"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_reason(
    demo: Shopper, changed: dict[str, Any], status: int, reason: str
) -> None:
    answer = order_with(demo, **changed)

    assert (answer.status, answer.reason) == (status, reason)
    assert answer.metadata


def lines(*quantities: Any) -> dict[str, Any]:
    return {
        "items": [
            {"productId": f"prod_{number}", "quantity": quantity}
            for number, quantity in enumerate(quantities)
        ]
    }


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (lines(0), "items[0].quantity"),
        (lines(1, 10**9), "items[1].quantity"),
        (lines(10**12), "items[0].quantity"),
        (lines(-1), "items[0].quantity"),
        (lines(1.5), "items[0].quantity"),
        (lines("two"), "items[0].quantity"),
        (lines(None), "items[0].quantity"),
        (lines(*[1] * 101), "items"),
        ({"items": []}, "items"),
        ({"items": "none"}, "items"),
        ({"items": [{"quantity": 1}]}, "items[0].productId"),
        ({"items": [{"productId": "a b", "quantity": 1}]}, "items[0].productId"),
        ({"customerId": ""}, "customerId"),
        ({"customerId": None}, "customerId"),
        ({"customerId": 7}, "customerId"),
        ({"customerId": "usr\u0000"}, "customerId"),
        ({"paymentMethod": "x" * 65}, "paymentMethod"),
        ({"requestId": "two words"}, "requestId"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_faulty_field_is_named(demo: Shopper, changed: dict[str, Any], field: str) -> None:
    answer = demo.send("POST", "/api/v1/orders", demo.basket() | changed)

    assert answer.status == 400
    assert field in answer.fields


def test_a_missing_customer_is_named(demo: Shopper) -> None:
    basket = demo.basket()
    del basket["customerId"]

    answer = demo.send("POST", "/api/v1/orders", basket)

    assert (answer.status, answer.fields) == (400, ["customerId"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"customerId": "usr_8923a10f", ',
        b"not json",
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"customerId": "\\ud800"}',
        b"[" * 100_000,
        b'{"items": ' * 10_000,
    ],
)
def test_a_broken_body_is_never_an_error_of_ours(demo: Shopper, body: bytes) -> None:
    answer = demo.send("POST", "/api/v1/orders", body)

    assert answer.status == 400
    assert answer.json["message"]


def test_a_body_of_ten_megabytes_is_too_large(demo: Shopper) -> None:
    body = demo.basket()
    body["customerId"] = "x" * 10 * 1024**2

    try:
        answer = demo.send("POST", "/api/v1/orders", body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before it was read: the answer may be lost with the connection
    else:
        assert answer.status == 413
    assert demo.place().status == 201


def test_nobody_does_anything_without_a_token(demo: Shopper) -> None:
    order_id = demo.place().json["orderId"]
    headers = [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": demo.token}]
    calls = [
        ("POST", "/api/v1/orders", demo.basket()),
        ("GET", f"/api/v1/orders/{order_id}", None),
        ("GET", "/api/v1/orders", None),
        ("POST", f"/api/v1/orders/{order_id}:cancel", {}),
        ("POST", "/api/v1/orders:quote", {"items": [{"productId": "prod_7721", "quantity": 1}]}),
    ]

    statuses = {
        request(demo.rest, method, path, body, header).status
        for method, path, body in calls
        for header in headers
    }

    assert statuses == {401}


def test_somebody_elses_order_is_not_found(demo: Shopper, admin: Shopper) -> None:
    order_id = demo.place().json["orderId"]
    stranger = Shopper.sign_up(demo.rest, f"stranger-{order_id}")

    for method, path in (("GET", order_id), ("POST", f"{order_id}:cancel")):
        body: Any = None if method == "GET" else {}
        theirs = stranger.send(method, f"/api/v1/orders/{path}", body)
        unknown = stranger.send(
            method, f"/api/v1/orders/{path.replace(order_id, 'ord_none')}", body
        )
        assert (theirs.status, theirs.reason) == (404, "ORDER_NOT_FOUND")
        assert theirs.json["message"] == unknown.json["message"]
    assert demo.order(order_id)["status"] == "CREATED"
    assert admin.order(order_id)["customerId"] == DEMO


def test_a_quote_keeps_nothing(demo: Shopper, lamp: str) -> None:
    items = [{"productId": lamp, "quantity": 3}, {"productId": "prod_7721", "quantity": 1}]

    quote = demo.send("POST", "/api/v1/orders:quote", {"items": items})

    assert quote.status == 200
    assert quote.json["totalAmount"] == 112.49
    assert [item["productId"] for item in quote.json["items"]] == [lamp, "prod_7721"]
    assert demo.stock(lamp) == (10, 0)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/orders/ord_none", 404),
        ("GET", "/api/v1/nothing", 404),
        ("DELETE", "/api/v1/orders", 405),
        ("GET", "/api/v1/orders?pageSize=many", 400),
        ("GET", "/api/v1/orders?pageSize=-1", 400),
        ("GET", "/api/v1/orders?pageToken=guess", 400),
        ("GET", "/api/v1/orders?colour=red", 400),
        ("GET", "/api/v1/orders/%00", 400),
    ],
)
def test_a_wrong_address_is_told_as_such(
    demo: Shopper, method: str, path: str, status: int
) -> None:
    assert demo.send(method, path).status == status


def test_the_program_says_that_it_is_well(served: Served) -> None:
    assert request(served.rest, "GET", "/healthz").status == 200
    assert request(served.rest, "GET", "/readyz").status == 200
    assert request(served.rest, "GET", "/metrics").status == 200


def test_every_answer_names_its_request(demo: Shopper) -> None:
    named = demo.send("GET", "/api/v1/orders", X_Request_Id="journey-1")
    unnamed = demo.send("GET", "/api/v1/orders")

    assert {key.lower(): value for key, value in named.headers.items()}["x-request-id"] == (
        "journey-1"
    )
    assert "x-request-id" in {key.lower() for key in unnamed.headers}


def test_nothing_of_all_this_broke_a_law_or_was_an_error_of_ours(served: Served) -> None:
    with served.database() as outside:
        invariants.await_rest(outside)
    assert '"event":"unexpected"' not in served.log()
