"""Looking after workflows at a front: the runs of all modules, wherever they live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portico.assembly import may_ask_for
from portico.placement import KERNEL
from portico.rpc.network_calls import handlers_of
from portico.rpc.registry import Registry
from portico.v1.workflow_service_pb2_grpc import (
    WorkflowServiceStub,
    add_WorkflowServiceServicer_to_server,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    from portico.hops import Neighbours
    from portico.placement import Placement
    from portico.rpc.interfaces import Handler
    from portico.rpc.policy import Policy
    from portico.topology import Process
    from portico.workflow.everywhere import Branch


def runs_everywhere(
    placement: Placement, neighbours: Neighbours, policy: Policy, *, here: grpc.Channel
) -> dict[str, dict[str, Handler]]:
    """What gRPC calls for ``portico.v1.WorkflowService`` to tell of all processes, by service and method.

    Nothing where no other process runs workflows. ``here`` reaches the runs of this one.
    """
    branches = list(_branches(placement, neighbours, policy, here))
    if all(each.process == placement.process.name for each in branches):
        return {}
    from portico.workflow.everywhere import EverywhereServicer

    registry = Registry()
    registrar: Any = registry.registrar(KERNEL)
    add_WorkflowServiceServicer_to_server(EverywhereServicer(branches), registrar)
    return handlers_of(registry, policy, "")


def _branches(
    placement: Placement, neighbours: Neighbours, policy: Policy, here: grpc.Channel
) -> Iterator[Branch]:
    for process in placement.topology.processes.values():
        modules = with_workflows(placement, process)
        if not modules:
            continue
        from portico.workflow.everywhere import Branch

        is_here = process.name == placement.process.name
        # Nobody's channel: a process that passes calls on has no say in who its users are.
        way = here if is_here else neighbours.channel(process.name, caller="", tracer=policy.tracer)
        yield Branch(process.name, modules, WorkflowServiceStub(way))


def with_workflows(placement: Placement, process: Process) -> list[str]:
    """The modules of ``process`` that run workflows, or may."""
    with_data = [module for module in placement.modules_of(process) if module.owns_data]
    if not with_data:
        return []
    from portico.workflow import Workflows  # with data, and so with a database driver

    return [module.name for module in with_data if may_ask_for(module, Workflows)]
