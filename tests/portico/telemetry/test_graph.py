from __future__ import annotations

import pytest

from portico.telemetry.graph import Edge, Traffic, mermaid, traffic_of
from portico.telemetry.metrics import Metrics

PLACE = "/commerce.orders.v1.OrdersService/PlaceOrder"
CHARGE = "/commerce.payments.v1.PaymentsService/Charge"
DELIVER = "/portico.v1.EventsService/Deliver"


def served(
    metrics: Metrics, module: str, method: str, caller: str, transport: str, *outcomes: int
) -> None:
    series = metrics.method(module=module, method=method, caller=caller, transport=transport)
    for code in outcomes:
        series.observe(code, 0.002)


def sent(metrics: Metrics, method: str, caller: str, *outcomes: int) -> None:
    series = metrics.hop(method, target="payments", caller=caller)
    for code in outcomes:
        series.observe(code, 0.02)


def scrape(metrics: Metrics) -> str:
    return metrics.render()[0].decode()


def test_calls_inside_the_process_are_solid_and_those_between_processes_dashed() -> None:
    shop, payments = Metrics(), Metrics()
    served(shop, "orders", PLACE, "", "local", 0, 0, 0, 14)
    served(payments, "payments", CHARGE, "orders", "remote", 0, 0)

    assert mermaid([scrape(shop), scrape(payments)]) == (
        "flowchart LR\n"
        "    outside([outside])\n"
        '    m_orders["orders"]\n'
        '    m_payments["payments"]\n'
        '    outside -->|"4 calls, 25 % failed, p50 1.75 ms, p99 2.49 ms"| m_orders\n'
        '    m_orders -.->|"2 calls, 0 % failed, p50 1.75 ms, p99 2.49 ms"| m_payments\n'
    )


def test_the_callers_end_counts_where_it_is_known() -> None:
    shop, payments = Metrics(), Metrics()
    sent(shop, CHARGE, "orders", 0, 14, 14)
    served(payments, "payments", CHARGE, "orders", "remote", 0)
    served(payments, "payments", CHARGE, "refunds", "remote", 0)

    found = traffic_of([scrape(shop), scrape(payments)])

    assert (found[Edge("orders", "payments", remote=True)].calls) == 3
    assert (found[Edge("orders", "payments", remote=True)].failed) == 2
    assert (found[Edge("refunds", "payments", remote=True)].calls) == 1


def test_a_module_that_was_never_reached_is_called_after_its_contract() -> None:
    shop = Metrics()
    sent(shop, CHARGE, "orders", 14)

    assert traffic_of([scrape(shop)]).keys() == {Edge("orders", "payments", remote=True)}


def test_several_workers_and_methods_are_one_edge() -> None:
    one, other = Metrics(), Metrics()
    served(one, "orders", PLACE, "", "remote", 0)
    served(other, "orders", PLACE, "", "remote", 0)
    served(other, "orders", "/commerce.orders.v1.OrdersService/GetOrder", "", "remote", 5)

    (traffic,) = traffic_of([scrape(one), scrape(other)]).values()
    assert (traffic.calls, traffic.failed) == (3, 0)


def test_what_never_happened_and_the_kernels_own_calls_are_left_out() -> None:
    metrics = Metrics()
    served(metrics, "orders", PLACE, "", "remote")
    served(metrics, "portico", DELIVER, "orders", "remote", 0)

    assert mermaid([scrape(metrics)]) == "flowchart LR\n"


def test_other_metrics_do_not_matter() -> None:
    assert mermaid(["other_total 1\n", ""]) == "flowchart LR\n"


def test_what_is_no_scrape_is_refused() -> None:
    with pytest.raises(ValueError, match=r".+"):
        mermaid(["<html>no metrics here</html>"])


def test_quantiles_are_read_off_the_buckets() -> None:
    traffic = Traffic(up_to={0.1: 50, 0.2: 90, float("inf"): 100})
    assert traffic.quantile(0.25) == pytest.approx(0.05)
    assert traffic.quantile(0.7) == pytest.approx(0.15)
    assert traffic.quantile(0.99) == 0.2  # beyond the last bound nobody knows
    assert Traffic().quantile(0.5) == 0.0
