"""Which processes a front asks for runs of workflows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import punq
import pytest
from examples.greeter.v1 import greeter_pb2_grpc as pb_grpc

from emporium.app import application
from portico import Module
from portico.assembly import may_ask_for
from portico.check.workflows import plans
from portico.data import Database
from portico.oversight import with_workflows
from portico.placement import Placement
from portico.workflow import Workflows


class Running:
    """Runs workflows."""

    def __init__(self, workflows: Workflows) -> None:
        self.workflows = workflows


class Port:
    """What somebody else makes."""


def made(workflows: Workflows) -> Port:
    return Port()


def bare() -> Port:
    return Port()


def later(container: punq.Container) -> Running:
    return container.resolve(Running)


class Servicer(pb_grpc.GreeterServiceServicer):
    """Runs none itself."""

    def __init__(self, database: Database) -> None:
        self.database = database


def module(wire: Callable[[punq.Container], Any]) -> Module:
    add = pb_grpc.add_GreeterServiceServicer_to_server
    return Module(name="greeter", provides={add: Servicer}, owns_data=True, wire=wire)


@pytest.mark.parametrize("name", ["monolith", "core-and-edge", "apart"])
def test_the_modules_that_define_workflows_are_known_without_being_built(name: str) -> None:
    topology = application.topology(Path(name))
    defining = {
        (here.process.name, module.name) for here, module, _ in plans(application, topology)
    }

    placement = Placement(topology, next(iter(topology.processes.values())), application.modules)
    found = {
        (process.name, module)
        for process in topology.processes.values()
        for module in with_workflows(placement, process)
    }

    assert found == defining


@pytest.mark.parametrize(
    ("wire", "asks"),
    [
        (lambda _: None, False),
        (lambda container: container.register(Port), False),
        (lambda container: container.register(Running), True),
        (lambda container: container.register(Port, Running), True),
        (lambda container: container.register(Port, factory=made), True),
        (lambda container: container.register(Port, factory=bare), False),
        (lambda container: container.register(Port, factory=lambda: later(container)), True),
        (lambda container: container.register(Port, factory=partial(later, container)), True),
        (lambda container: container.register(Port, instance=Port()), False),
        (lambda container: container.resolve(Database), True),
    ],
    ids=[
        "nothing",
        "others",
        "a class",
        "behind a port",
        "by a function",
        "by a function that takes nothing",
        "by a closure",
        "by a partial function",
        "there",
        "untold",
    ],
)
def test_a_module_may_run_workflows_if_anything_in_it_asks_for_them(
    wire: Callable[[punq.Container], Any], *, asks: bool
) -> None:
    assert may_ask_for(module(wire), Workflows) is asks
