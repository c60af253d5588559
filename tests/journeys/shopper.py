"""What people do with the shop over REST, as a browser or curl would."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

DEMO = "usr_8923a10f"
WEBHOOK_SECRET = "whsec_demo"
_PATIENCE_SECONDS = 30
_numbers = count(1)


@dataclass(frozen=True)
class Answer:
    """A response; ``json`` is None when the body is none."""

    status: int
    json: Any
    headers: dict[str, str]

    @property
    def reason(self) -> str:
        """The reason of a refusal, as in google.rpc.ErrorInfo."""
        return next((each["reason"] for each in self._details("ErrorInfo")), "")

    @property
    def metadata(self) -> dict[str, str]:
        """What goes with the reason."""
        return next((each.get("metadata", {}) for each in self._details("ErrorInfo")), {})

    @property
    def fields(self) -> list[str]:
        """The faulty fields that the refusal names."""
        return [
            violation["field"]
            for each in self._details("BadRequest")
            for violation in each["fieldViolations"]
        ]

    def _details(self, kind: str) -> list[dict[str, Any]]:
        details = self.json.get("details", []) if isinstance(self.json, dict) else []
        return [each for each in details if each["@type"].endswith(f"google.rpc.{kind}")]


def request(
    rest: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    """One request on a connection of its own. ``body`` is bytes as they are, or becomes JSON."""
    connection = http.client.HTTPConnection(urlsplit(rest).netloc, timeout=_PATIENCE_SECONDS)
    sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} if sent is not None else {}
    try:
        connection.request(method, path, body=sent, headers=given | (headers or {}))
        response = connection.getresponse()
        return Answer(response.status, _parsed(response.read()), dict(response.getheaders()))
    finally:
        connection.close()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def new_key() -> str:
    """An Idempotency-Key that nobody has used."""
    return f"key-{time.time_ns()}-{next(_numbers)}"


def signature(body: bytes, *, secret: str = WEBHOOK_SECRET, age_seconds: int = 0) -> str:
    """The X-Webhook-Signature a provider sends with ``body``."""
    at = int(time.time()) - age_seconds
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def notification(order: Any, **changed: Any) -> bytes:
    """A provider's message that the whole amount was taken, unless told otherwise."""
    content = {
        "paymentId": order["paymentId"],
        "orderId": order["orderId"],
        "amount": order["totalAmount"],
        "status": "SUCCESS",
        "timestamp": "2026-05-29T13:07:05Z",
    }
    return json.dumps(content | changed).encode()


@dataclass
class Shopper:
    """Somebody who is signed in."""

    rest: str
    user_id: str
    token: str
    refresh_token: str = ""

    @staticmethod
    def log_in(rest: str, email: str, password: str) -> Shopper:
        answer = request(rest, "POST", "/api/v1/auth/login", {"email": email, "password": password})
        assert answer.status == 200, answer
        return Shopper(
            rest, answer.json["userId"], answer.json["accessToken"], answer.json["refreshToken"]
        )

    @staticmethod
    def sign_up(rest: str, name: str) -> Shopper:
        content = {
            "email": f"{name}@example.com",
            "password": "correct-horse",
            "displayName": name,
        }
        answer = request(rest, "POST", "/api/v1/auth/register", content)
        assert answer.status == 201, answer
        return Shopper(
            rest, answer.json["userId"], answer.json["accessToken"], answer.json["refreshToken"]
        )

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A request with the access token; ``headers`` with underscores for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return request(
            self.rest, method, path, body, {"Authorization": f"Bearer {self.token}"} | named
        )

    def basket(self, product_id: str = "prod_7721", quantity: int = 2, **changed: Any) -> Any:
        """The body of an order."""
        return {
            "customerId": self.user_id,
            "items": [{"productId": product_id, "quantity": quantity}],
            "paymentMethod": "pm_visa_9832",
        } | changed

    def place(self, product_id: str = "prod_7721", quantity: int = 2, **headers: str) -> Answer:
        return self.send("POST", "/api/v1/orders", self.basket(product_id, quantity), **headers)

    def order(self, order_id: str) -> Any:
        answer = self.send("GET", f"/api/v1/orders/{order_id}")
        assert answer.status == 200, answer
        return answer.json

    def stock(self, product_id: str) -> tuple[int, int]:
        """Pieces on hand, and of these reserved."""
        answer = self.send("GET", f"/api/v1/inventory/{product_id}")
        assert answer.status == 200, answer
        return answer.json["onHand"], answer.json["reserved"]


def webhook(rest: str, body: bytes, signed: str | None) -> Answer:
    """A provider's message, with a signature or without."""
    headers = {} if signed is None else {"X-Webhook-Signature": signed}
    return request(rest, "POST", "/api/v1/payments/webhook", body, headers)
