"""A reaction belongs to the trace in which its event was published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import Connection

from portico.context import entered, root
from portico.data import Database, Engine
from portico.events import Doorbell, Events, Relay, reactions_of, reacts_to
from portico.lab import trace_tree
from portico.telemetry import spans
from portico.telemetry.export import open_tracer

if TYPE_CHECKING:
    from portico.clock import ManualClock
    from portico.telemetry.otel.tracer import Tracer

EFFECTS = sa.table("effects", sa.column("aggregate"), sa.column("event"), schema="bank")


class Ledger:
    """Writes down what reaches it."""

    def __init__(self) -> None:
        self.fails = False

    @reacts_to(StringValue)
    def on_text(self, event: StringValue, session: Connection) -> None:
        session.execute(EFFECTS.insert(), {"aggregate": "a", "event": event.value})
        if self.fails:
            raise RuntimeError("no")


@pytest.fixture(params=[1.0, 0.0], ids=["recorded", "not recorded"])
def ratio(request: pytest.FixtureRequest) -> float:
    chosen: float = request.param
    return chosen


@pytest.fixture
def tracer(tmp_path: Path, ratio: float) -> Iterator[Tracer]:
    tracer = open_tracer(application="test", file=tmp_path / "spans.jsonl", ratio=ratio)
    assert tracer is not None
    yield tracer
    tracer.close()


@pytest.fixture
def headers(engine: Engine, shop: Database, events: Events, tracer: Tracer) -> dict[str, Any]:
    """Those of an event that was published in a part of a traced call."""
    engine.trace()
    with (
        entered(root(module="shop")) as call,
        tracer.reaction(call, {}),
        spans.part("step pay", number=1),
        shop.unit_of_work() as session,
    ):
        events.publish(session, StringValue(value="a:1"), aggregate_id="a")
    with shop.reading() as session:
        found: dict[str, Any] = session.exec_driver_sql(
            "SELECT headers FROM shop.outbox"
        ).scalar_one()
    return found


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def relay(
    shop: Database,
    bank: Database,
    clock: ManualClock,
    doorbell: Doorbell,
    tracer: Tracer,
    ledger: Ledger,
) -> Relay:
    reactions = reactions_of(ledger, database=bank)
    return Relay([shop], reactions, clock=clock, doorbell=doorbell, tracer=tracer)


@pytest.mark.parametrize("fails", [False, True])
def test_its_span_is_below_the_one_that_published(
    headers: dict[str, Any],
    relay: Relay,
    ledger: Ledger,
    tracer: Tracer,
    tmp_path: Path,
    ratio: float,
    fails: bool,
) -> None:
    ledger.fails = fails
    relay.settle()
    tracer.flush()

    assert headers["sampled"] is (ratio == 1.0)
    roots = trace_tree.trees(trace_tree.read(tmp_path / "spans.jsonl"))
    if not headers["sampled"]:
        assert roots == {}
        return
    (trace,) = roots.values()
    assert trace[0].trace_id == headers["trace_id"]
    outcome = "ERROR" if fails else "UNSET"
    assert [shape[:4] for shape, _ in trace_tree.flat(trace)] == [
        (0, "", "CONSUMER", "UNSET"),
        (1, "step pay", "INTERNAL", "UNSET"),
        (2, "bank.Ledger.on_text", "CONSUMER", outcome),
        (3, "INSERT bank.effects", "CLIENT", "UNSET"),
    ]


def test_without_a_tracer_the_headers_are_the_calls(
    shop: Database, events: Events, engine: Engine
) -> None:
    with entered(root(module="shop")), spans.part("nothing"), shop.unit_of_work() as session:
        events.publish(session, StringValue(value="a:1"), aggregate_id="a")
    with shop.reading() as session:
        found = session.exec_driver_sql("SELECT headers FROM shop.outbox").scalar_one()
    assert found["span_id"] == ""
    assert "sampled" not in found
