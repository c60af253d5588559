"""Starting, stopping and killing the program, with orders in it."""

from __future__ import annotations

import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.journeys import invariants
from tests.journeys.served import Served
from tests.journeys.shopper import Shopper, new_key, request


def demo(program: Served) -> Shopper:
    return Shopper.log_in(program.rest, "demo@example.com", "demo-password")


def test_the_greeting_has_addresses_accounts_and_a_line_that_works_as_pasted(
    served: Served,
) -> None:
    lines = [line.strip() for line in served.greeting.splitlines()]
    (line,) = [line for line in lines if line.startswith("curl ")]

    pasted = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False
    )

    assert served.rest in line
    for account in ("demo@example.com", "admin@example.com", "business@example.com"):
        assert account in served.greeting
    assert '"orderId"' in pasted.stdout, pasted
    assert "149.98" in pasted.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_restart_keeps_orders_tokens_and_stock(own: Served, number: int) -> None:
    shopper, key = demo(own), new_key()
    placed = shopper.place(Idempotency_Key=key).json
    order, stock = shopper.order(placed["orderId"]), shopper.stock("prod_7721")

    assert own.stop(number) == 0
    assert not own.has_database()
    own.start()

    shopper.rest = own.rest
    assert shopper.order(placed["orderId"]) == order
    assert shopper.stock("prod_7721") == stock
    assert shopper.place(Idempotency_Key=key).json == placed
    with own.database() as outside:
        assert invariants.violations(outside) == []


def test_kill_9_of_the_whole_group_loses_nothing_that_was_answered(own: Served) -> None:
    shopper, key = demo(own), new_key()
    placed = shopper.place(Idempotency_Key=key).json

    own.kill()
    own.start()

    shopper.rest = own.rest
    assert shopper.order(placed["orderId"])["status"] == "CREATED"
    assert shopper.place(Idempotency_Key=key).json == placed
    with own.database() as outside:
        assert invariants.violations(outside) == []


def test_a_call_that_runs_when_it_is_told_to_stop_gets_its_answer(own: Served) -> None:
    shopper = demo(own)
    with own.database() as outside, ThreadPoolExecutor(1) as pool:
        outside.autocommit = False
        outside.execute("SELECT FROM inventory.levels WHERE product_id = 'prod_7721' FOR UPDATE")
        waiting = pool.submit(shopper.place)
        while not _waits_for_a_lock(own):
            time.sleep(0.01)
        own.process.send_signal(signal.SIGTERM)
        while _still_answers(own):
            time.sleep(0.01)
        outside.rollback()
        outside.close()
        answer = waiting.result(timeout=30)

    assert answer.status == 201
    assert own.process.wait(30) == 0
    own.start()
    shopper.rest = own.rest
    assert shopper.order(answer.json["orderId"])["status"] == "CREATED"


def _waits_for_a_lock(program: Served) -> bool:
    with program.database() as outside:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        row = outside.execute(query).fetchone()
    return row is not None and row[0] > 0


def _still_answers(program: Served) -> bool:
    try:
        return request(program.rest, "GET", "/readyz").status == 200
    except OSError:
        return False
