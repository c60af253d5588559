"""A module moves out of a monolith that serves: no request fails."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import grpc
import pytest
from commerce.catalog.v1 import catalog_service_pb2 as catalog
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub

from tests.journeys import invariants
from tests.journeys.served import Served, new_folder
from tests.journeys.shopper import Shopper, request
from tests.proof.load import Load, failed, quantile_ms

_PATIENCE_SECONDS = 60
_TOGETHER = """
[processes.shop]
modules = ["*"]
front = true
"""
_APART = """
[processes.shop]
modules = ["*"]
front = true
[processes.payments]
modules = ["payments"]
"""


def _until_moved(program: Served) -> None:
    """Return when the supervisor says that the topology which was asked for is in place."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while "the topology is in place" not in program.log():
        assert time.monotonic() < until, program.log()[-4000:]
        time.sleep(0.1)


def _placing(shopper: Shopper) -> str:
    answer = shopper.place()
    return "" if answer.status == 201 else f"{answer.status} {answer.json}"


def _listing(rest: str) -> str:
    answer = request(rest, "GET", "/api/v1/products")
    return "" if answer.status == 200 else f"{answer.status} {answer.json}"


@pytest.mark.parametrize("way", [(_TOGETHER, _APART), (_APART, _TOGETHER)], ids=["out", "in"])
def test_a_module_moves_and_no_request_fails(
    fresh: Path, way: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """50 requests a second: orders, products over REST on fresh connections, products over one gRPC connection."""
    before, after = way
    with new_folder(fresh) as folder:
        file = folder / "moving.toml"
        file.write_text(before)
        program = Served(folder, topology=str(file), PORTICO_LOG_LEVEL="info")
        program.start()
        shopper = Shopper.log_in(program.rest, "demo@example.com", "demo-password")
        try:
            with grpc.insecure_channel(program.grpc) as channel:
                products = CatalogServiceStub(channel)

                def over_grpc() -> str:
                    products.ListProducts(catalog.ListProductsRequest(), timeout=10)
                    return ""

                with (
                    Load(lambda: _placing(shopper), per_second=10) as orders,
                    Load(lambda: _listing(program.rest), per_second=20) as rest,
                    Load(over_grpc, per_second=20) as grpcs,
                ):
                    time.sleep(2)
                    file.write_text(after)
                    os.kill(program.process.pid, signal.SIGHUP)
                    _until_moved(program)
                    time.sleep(12)  # also while the old one leaves
            with program.database() as outside:
                invariants.await_rest(outside)  # the last orders' events are still on their way
        finally:
            program.close()

    loads = {"orders": orders, "REST": rest, "gRPC": grpcs}
    with capsys.disabled():
        for name, load in loads.items():
            sent = load.sent()
            print(
                f"\n{name}: {len(sent)} requests, {len(failed(sent))} failed,"
                f" p99 {quantile_ms(sent, 0.99):.0f} ms",
                end="",
            )
    assert [each for load in loads.values() for each in failed(load.sent())] == []
