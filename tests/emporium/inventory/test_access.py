"""Who may call what of inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from commerce.inventory.v1.inventory_service_pb2 import (
    AdjustStockRequest,
    CommitRequest,
    GetStockRequest,
    ReleaseRequest,
    ReserveRequest,
)
from commerce.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from commerce.inventory.v1.reservation_pb2 import ReservationLine

from portico.errors import StatusError

if TYPE_CHECKING:
    from portico.testing.harness import Harness


def refused(call: Any, request: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        call(request)
    return caught.value


@pytest.mark.parametrize("over", ["local", "socket"])
def test_nobody_outside_reserves_commits_or_releases(harness: Harness, over: Any) -> None:
    admin = harness.stub(InventoryServiceStub, over, user="usr_admin", roles=["admin"])
    line = ReservationLine(product_id="prod_1", quantity=1)
    for error in (
        refused(admin.Reserve, ReserveRequest(reservation_id="r", lines=[line], hold_seconds=1)),
        refused(admin.Commit, CommitRequest(reservation_id="r")),
        refused(admin.Release, ReleaseRequest(reservation_id="r")),
    ):
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("over", ["local", "socket"])
def test_only_an_administrator_adjusts(harness: Harness, stockroom: Any, over: Any) -> None:
    product = stockroom.stocked(5)
    request = AdjustStockRequest(product_id=product, delta=1)
    nobody = harness.stub(InventoryServiceStub, over)
    customer = harness.stub(InventoryServiceStub, over, user="usr_1", roles=["customer"])
    assert refused(nobody.AdjustStock, request).code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused(customer.AdjustStock, request).code() is grpc.StatusCode.PERMISSION_DENIED
    assert nobody.GetStock(GetStockRequest(product_id=product)).on_hand == 5


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (AdjustStockRequest(product_id="prod_1"), "delta"),
        (AdjustStockRequest(product_id="prod_1", delta=1_000_001), "delta"),
        (AdjustStockRequest(product_id="prod 1", delta=1), "product_id"),
        (AdjustStockRequest(product_id="prod_1", delta=1, note="a\0b"), "note"),
        (AdjustStockRequest(product_id="prod_1", delta=1, request_id="a b"), "request_id"),
    ],
)
def test_a_wrong_field_is_refused_by_name(
    harness: Harness, request_: AdjustStockRequest, field: str
) -> None:
    admin = harness.stub(InventoryServiceStub, "local", user="usr_admin", roles=["admin"])
    error = refused(admin.AdjustStock, request_)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [field]


@pytest.mark.parametrize(
    ("lines", "hold_seconds", "field"),
    [
        ({}, 1, "lines"),
        ({"prod_1": 0}, 1, "lines[0].quantity"),
        ({"prod_1": 10_001}, 1, "lines[0].quantity"),
        ({"prod_1": 1}, 0, "hold_seconds"),
        ({"prod_1": 1}, 86_401, "hold_seconds"),
    ],
)
def test_a_wrong_line_is_refused_by_name(
    stockroom: Any, lines: dict[str, int], hold_seconds: int, field: str
) -> None:
    with pytest.raises(StatusError) as caught:
        stockroom.reserve("ord_1", lines, hold_seconds)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_a_product_in_two_lines_is_refused(stockroom: Any) -> None:
    line = ReservationLine(product_id="prod_1", quantity=1)
    request = ReserveRequest(reservation_id="ord_1", lines=[line, line], hold_seconds=1)
    error = refused(stockroom.stub.Reserve, request)
    assert [violation.field for violation in error.violations] == ["lines"]
