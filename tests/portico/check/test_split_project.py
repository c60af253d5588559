"""``portico check split`` on Emporium: any of its modules may move; one unsafe call is found."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emporium.app import application
from portico.check.split import report
from portico.check.split.move import Move
from portico.cli import main
from portico.topology import TopologyError

SOURCE = Path(sys.modules["emporium"].__path__[0])

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["portico", "check", *arguments])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), "".join(capsys.readouterr()).splitlines()
        raise AssertionError("a command ends the program")

    return run


Change = tuple[str, str, str]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes a copy of Emporium with these changes (file, old, new) and answers its name for ``--app``."""
    monkeypatch.syspath_prepend(tmp_path)

    def copy(*changes: Change) -> str:
        name = f"emporium_{tmp_path.name}"
        folder = tmp_path / name
        shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file, old, new in changes:
            text = (folder / file).read_text()
            assert text.count(old) == 1
            (folder / file).write_text(text.replace(old, new))
        for path in folder.rglob("*.py"):
            path.write_text(path.read_text().replace("from emporium", f"from {name}"))
        return f"{name}.app:application"

    return copy


@pytest.mark.parametrize("module", [module.name for module in application.modules])
def test_every_module_can_move(module: str) -> None:
    found = report(application, module)

    assert [str(each) for each in found.findings if each.severity == "error"] == []
    assert found.move.parted


def test_the_report_tells_calls_events_and_workflows(run: Run) -> None:
    code, lines = run("split", "--move", "payments")

    assert code == 0
    for line in (
        "payments moves from the process app to payments",
        '  orders -> payments: Charge, Refund, Void; no timeout_ms at edges."orders -> payments"',
        "  payments -> orders: PaymentFailed, PaymentSucceeded",
        "  orders.place_order: one transaction becomes a saga of 2 own transactions and 1 call",
        "    payment   over the network to payments, undo _settle",
        "  auth.sign_up: stays one transaction",
    ):
        assert line in lines
    assert lines[-1].startswith("payments can move: no errors, ")


def test_a_move_may_be_in_any_topology_and_to_any_process(run: Run) -> None:
    code, lines = run("split", "--move", "catalog", "--to", "payments", "payments-apart")
    assert code == 0
    assert "  orders -> catalog: BatchGetPrices (query); no timeout_ms" in "\n".join(lines)
    assert any("a saga becomes a saga of 2 own transactions and 2 calls" in line for line in lines)

    code, lines = run("split", "--move", "payments", "--to", "shop", "payments-apart")
    assert code == 0
    assert "  orders -> payments" in lines
    assert "  orders.place_order: becomes one transaction" in lines


def test_an_unsafe_call_is_found(run: Run, copied: Callable[..., str]) -> None:
    added = "            store.add(session, state.order(), state.request())\n"
    call = "            self._payments.GetPayment(ChargeRequest(payment_id=state.payment_id))\n"
    app = copied(("orders/workflows/place.py", added, added + call))

    code, lines = run("split", "--move", "payments", "--app", app)
    assert code == 1
    assert lines[-1].startswith("payments cannot move yet: 1 error, ")
    [error] = [line for line in lines if line.startswith("error")]
    assert (
        "orders/workflows/place.py:130: GetPayment of payments is called in the transaction"
        in error
    )
    assert "(step order of orders.place_order)" in error

    assert run("split", "--move", "inventory", "--app", app)[0] == 0


def test_what_workflows_lack_is_found(run: Run, copied: Callable[..., str]) -> None:
    app = copied(
        ("orders/workflows/place.py", ", undo=self._give_up", ""),
        ("orders/workflows/place.py", "request_id=step_key(),", ""),
        ("orders/workflows/cancel.py", ", pivot=True", ""),
        (
            "orders/reactions.py",
            "@reacts_to(OrderRefundDue, in_transaction=False)",
            "@reacts_to(OrderRefundDue)",
        ),
    )

    code, lines = run("split", "--move", "payments", "--app", app)
    errors = [line for line in lines if line.startswith("error")]
    assert code == 1
    for told in (
        "step order of orders.place_order has no undo",
        "Charge of payments is sent without a request_id",
        "step order of orders.cancel_order has no undo",
        "orders.refund_order is started in the transaction of the reaction",
    ):
        assert any(told in line for line in errors), told


def test_check_alone_is_what_it_was(run: Run) -> None:
    code, lines = run("--app", "emporium.app:application")

    assert (code, lines[-1]) == (0, "emporium fits together")
    assert run("--app", "nothing")[0] == 1
    assert run("split", "--move", "users", "--app", "emporium.app:application")[0] == 0


def test_a_move_that_cannot_be_is_told_in_a_sentence(run: Run) -> None:
    code, [line] = run("split", "--move", "nobody")
    assert code == 1
    assert line.startswith("portico: no module nobody runs in topology monolith; there are users, ")

    with pytest.raises(TopologyError, match="is in the process app already"):
        report(application, "users", to="app")


def test_a_process_that_is_left_empty_is_gone_unless_clients_come_there() -> None:
    apart = application.topology(Path("payments-apart"))
    home = Move.of("payments", to="shop", topology=apart, modules=application.modules)
    assert list(home.after.processes) == ["shop"]
    assert home.united == [("orders", "payments")]
    assert home.parted == []

    split = application.topology(Path("apart"))
    edge = Move.of("orders", to="edge", topology=split, modules=application.modules)
    assert "orders" not in edge.after.processes
    assert edge.after.process_of("orders").name == "edge"
    assert (edge.parted, edge.united) == ([], [])  # alone before, and alone there


def test_modules_stay_in_the_order_in_which_they_start() -> None:
    monolith = application.topology(None)
    move = Move.of("catalog", topology=monolith, modules=application.modules)

    [order] = [process.modules for process in monolith.processes.values()]
    assert move.after.process_of("orders").modules == tuple(
        name for name in order if name != "catalog"
    )
    assert move.after.process_of("catalog").modules == ("catalog",)
    assert move.after.process_of("orders").front
