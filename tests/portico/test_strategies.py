from __future__ import annotations

from pathlib import Path

from emporium.app import application
from portico.check.workflows import strategies


def of(topology: str | None) -> dict[str, str]:
    found = application.topology(None if topology is None else Path(topology))
    lines = [line.partition(": ") for line in strategies(application, found)]
    return {name.removeprefix("workflow "): told for name, _, told in lines}


def test_in_one_process_every_workflow_is_one_transaction() -> None:
    told = of(None)

    assert set(told) >= {"auth.sign_up", "orders.place_order", "orders.cancel_order"}
    assert set(told.values()) == {"together, one transaction"}


def test_only_what_leaves_the_process_is_a_saga() -> None:
    told = of("payments-apart")

    assert told["auth.sign_up"] == "together, one transaction"
    assert told["orders.place_order"] == "apart, a log of its steps; over the network: payments"


def test_where_everything_is_apart_it_is_told_which_modules_take_part() -> None:
    told = of("apart")

    assert told["orders.place_order"].endswith("network: catalog, inventory, payments")
    assert told["auth.sign_up"].endswith("network: users")
