"""``kill -9`` of the payments process under load: what goes on, what fails fast, and how it comes back."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from portico.testing.servers import Databases
from tests.journeys import invariants
from tests.journeys.shopper import Shopper
from tests.proof.load import Load, failed, quantile_ms
from tests.proof.parts import running

_BEFORE_SECONDS = 5
_OUTAGE_SECONDS = 25
_OPENING_SECONDS = 4
"""From the kill until the circuit has surely seen enough failures."""
_RECOVERY_SECONDS = 15
_SETTLING_SECONDS = 60


def test_an_outage_of_payments_stops_nothing_but_payments(
    databases: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = databases.new().set(drivername="postgresql")
    address = url.render_as_string(hide_password=False)
    with running("payments-apart", tmp_path, address) as parts:
        payments, shop = parts["payments"], parts["shop"]
        shopper = Shopper.log_in(shop.rest, "demo@example.com", "demo-password")
        placed = shopper.place().json
        order_id, payment_id = placed["orderId"], placed["paymentId"]

        def browse() -> str:
            for path in ("/api/v1/products", f"/api/v1/orders/{order_id}"):
                answer = shopper.send("GET", path)
                if answer.status != 200:
                    return f"{path}: {answer.status} {answer.json}"
            return ""

        def place() -> str:
            answer = shopper.place()
            return "" if answer.status == 201 else f"{answer.status} {answer.reason}"

        def look() -> str:
            answer = shopper.send("GET", f"/api/v1/payments/{payment_id}")
            return "" if answer.status == 200 else f"{answer.status} {answer.reason}"

        with (
            Load(browse, per_second=20) as browsing,
            Load(place, per_second=10) as placing,
            Load(look, per_second=10) as looking,
        ):
            time.sleep(_BEFORE_SECONDS)
            payments.kill()
            killed = placing.now
            time.sleep(_OUTAGE_SECONDS)
            restarting = placing.now
            payments.start()
            restarted = placing.now
            time.sleep(_RECOVERY_SECONDS + 10)
        with psycopg.connect(address, autocommit=True) as outside:
            invariants.await_rest(outside, patience_seconds=_SETTLING_SECONDS)

    outage = placing.sent(since=killed + _OPENING_SECONDS, until=restarting)
    looks = looking.sent(since=killed + _OPENING_SECONDS, until=restarting)
    after = placing.sent(since=restarted)
    recovered = [each.at for each in after if not each.outcome]
    late = placing.sent(since=restarted + _RECOVERY_SECONDS)
    with capsys.disabled():
        print(
            f"\nbrowsing: {len(browsing.sent())} requests, {len(failed(browsing.sent()))} failed"
            f"\nplacing before: {len(failed(placing.sent(until=killed - 1)))} failed"
            f"\nplacing, circuit open: {len(outage)} requests, {len(failed(outage))} failed,"
            f" p50 {quantile_ms(outage, 0.5):.1f} ms, p99 {quantile_ms(outage, 0.99):.1f} ms,"
            f" {sorted({each.outcome for each in outage})}"
            f"\na call to payments alone, circuit open: {len(looks)} requests, {len(failed(looks))} failed,"
            f" p50 {quantile_ms(looks, 0.5):.1f} ms, p99 {quantile_ms(looks, 0.99):.1f} ms,"
            f" {sorted({each.outcome for each in looks})}"
            f"\nfirst order {recovered[0] - restarted:.1f} s after the restart",
        )
    assert failed(browsing.sent()) == []
    assert failed(placing.sent(until=killed - 1)) == []
    assert len(failed(outage)) == len(outage) > 0
    assert len(failed(looks)) == len(looks) > 0
    assert recovered[0] - restarted < _RECOVERY_SECONDS
    assert failed(late) == []
