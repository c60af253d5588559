from __future__ import annotations

from pathlib import Path

from examples.greeter.v1 import greeter_pb2_grpc as greeter
from pydantic import BaseModel, ConfigDict, SecretStr

from emporium.app import application
from portico import Application, Module
from portico.check.workflows import strategies
from portico.topology import Topology
from portico.workflow import Step, Workflow, Workflows


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


class Demanding(BaseModel):
    model_config = ConfigDict(frozen=True)

    key: SecretStr
    limit: int = 3


class Greeter(greeter.GreeterServiceServicer):
    def __init__(self, *, workflows: Workflows, settings: Demanding) -> None:
        step: Step[dict[str, int]] = Step("all", self._greet)
        workflows.define(Workflow(f"greet.{settings.limit}", 1, [step]), state=dict)

    def _greet(self, state: dict[str, int]) -> None:
        pass


def test_nobody_needs_a_secret_to_be_told() -> None:
    module = Module(
        name="greet",
        provides={greeter.add_GreeterServiceServicer_to_server: Greeter},
        settings=Demanding,
        owns_data=True,
    )
    demanding = Application(name="demanding", modules=[module])

    told = list(strategies(demanding, Topology.monolith([module])))

    assert told == ["workflow greet.3: together, one transaction"]
