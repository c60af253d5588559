"""How each workflow of an application runs under a topology, told without starting anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from portico.assembly import assemble_askers
from portico.clock import Clock, SystemClock
from portico.data import Database, Engine
from portico.events import Doorbell, Events
from portico.ids import Ids
from portico.module import service_of
from portico.placement import Placement
from portico.rpc.local import LocalChannel
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.telemetry.metrics import Metrics
from portico.workflow import Workflows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from portico.app import Application
    from portico.module import Module
    from portico.topology import Topology
    from portico.workflow.plan import Plan

_NOWHERE = "postgresql://nobody@localhost/none"  # never connected to


def strategies(application: Application, topology: Topology) -> Iterator[str]:
    """A line for each workflow: one transaction, or a saga, and whose steps leave the process."""
    for placement, _, plan in plans(application, topology):
        yield f"workflow {plan.workflow.name}: {_told(plan, placement)}"


def plans(
    application: Application, topology: Topology
) -> Iterator[tuple[Placement, Module, Plan[Any]]]:
    """Every workflow as its process runs it, with the module that defines it.

    What defines workflows is put together, over a database that is never asked.
    """
    engine = Engine(_NOWHERE)
    try:
        for process in topology.processes.values():
            placement = Placement(topology, process, application.modules)
            for module in placement.here:
                if module.owns_data:
                    for plan in _of_module(application, placement, module, engine):
                        yield placement, module, plan
    finally:
        engine.close()


def _of_module(
    application: Application, placement: Placement, module: Module, engine: Engine
) -> Iterator[Plan[Any]]:
    clock, database = SystemClock(), Database(engine, schema=module.name)
    workflows = Workflows(
        module=module.name, database=database, clock=clock, is_local=placement.is_here
    )
    ids = Ids(clock=clock)
    provided: dict[type, Any] = {
        Clock: clock,
        Ids: ids,
        Metrics: Metrics(),
        Database: database,
        Events: Events(database, clock=clock, ids=ids, doorbell=Doorbell()),
        Workflows: workflows,
    }
    if module.settings is not None:
        provided[module.settings] = _settings(application, module.name, module.settings)
    channel = LocalChannel(Registry(), policy=Policy(), caller=module.name)
    assemble_askers(module, channel, provided, of=Workflows)
    yield from workflows.plans.values()


def _settings(application: Application, module: str, section: type[BaseModel]) -> BaseModel:
    """What the module would be given; the defaults alone, where there are settings without one."""
    try:
        return application.settings_class()().section(module)
    except ValidationError:
        return section.model_construct()


def _told(plan: Plan[Any], placement: Placement) -> str:
    if plan.strategy == "together":
        return "together, one transaction"
    places = zip(plan.steps, plan.is_remote, strict=True)
    stubs = [step.at for step, remote in places if remote and step.at is not None]
    away = dict.fromkeys(placement.module_of(service_of(stub)) for stub in stubs)
    if not away:
        return "apart, a log of its steps, since it waits"
    return f"apart, a log of its steps; over the network: {', '.join(away)}"
