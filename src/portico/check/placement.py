"""What a topology means for an application, told without starting anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.module import providers, start_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from portico.module import Module
    from portico.topology import Process, Topology

_TRANSPORTS = {
    "rpc": "over the network, by calls of the other process",
    "redis": "over the network, by Redis Streams",
}


def shown(topology: Topology, modules: Sequence[Module]) -> list[str]:
    """The processes with their modules, and which module calls which, inside a process or over the network."""
    off = sorted(topology.disabled)
    return [
        f"topology {topology.name}",
        *(
            f"  {process.name}: {', '.join(process.modules) or 'no modules'}{_traits(process)}"
            for process in topology.processes.values()
        ),
        *([f"  turned off: {', '.join(off)}"] if off else []),
        *([f"  events: {_TRANSPORTS[topology.events]}"] if topology.is_split else []),
        *(f"  {line}" for line in _calls(topology, modules)),
    ]


def differences(before: Topology, after: Topology, modules: Sequence[Module]) -> list[str]:
    """What changes between two topologies: modules that move, processes, and calls that begin or end to be remote."""
    return [
        *_moves(before, after, modules),
        *_changed_processes(before, after),
        *_changed_calls(before, after, modules),
        *([f"events: {before.events} -> {after.events}"] if before.events != after.events else []),
    ]


def _traits(process: Process) -> str:
    traits = [
        *(["front"] if process.front else []),
        *([f"{process.workers} workers"] if process.workers > 1 else []),
        *([f"{process.replicas} replicas"] if process.replicas > 1 else []),
        *([f"at {process.address}"] if process.address else []),
        *(["database of its own"] if process.database_url else []),
    ]
    return f" ({', '.join(traits)})" if traits else ""


def _edges(topology: Topology, modules: Sequence[Module]) -> Iterator[tuple[str, str]]:
    provided = providers(modules)
    for module in start_order(modules, disabled=topology.disabled):
        for callee in dict.fromkeys(provided.get(service, "") for service in module.calls()):
            if callee and callee not in topology.disabled:
                yield module.name, callee


def _is_remote(topology: Topology, caller: str, callee: str) -> bool:
    return topology.process_of(caller).name != topology.process_of(callee).name


def _calls(topology: Topology, modules: Sequence[Module]) -> Iterator[str]:
    for caller, callee in _edges(topology, modules):
        edge = topology.edge(caller, callee)
        if _is_remote(topology, caller, callee):
            way = "over the network"
        else:
            way = f"in the process, messages {'shared' if edge.isolation == 'share' else 'copied'}"
        limit = "" if edge.timeout_ms is None else f", {edge.timeout_ms} ms at the most"
        yield f"{caller} -> {callee}: {way}{limit}"


def _place(topology: Topology, module: str) -> str:
    return "off" if module in topology.disabled else topology.process_of(module).name


def _moves(before: Topology, after: Topology, modules: Sequence[Module]) -> Iterator[str]:
    for module in modules:
        old, new = _place(before, module.name), _place(after, module.name)
        if old != new:
            yield f"module {module.name}: {old} -> {new}"


def _changed_processes(before: Topology, after: Topology) -> Iterator[str]:
    for name in dict.fromkeys((*before.processes, *after.processes)):
        old, new = before.processes.get(name), after.processes.get(name)
        if old is None or new is None:
            yield f"process {name}: {'added' if old is None else 'removed'}"
            continue
        for trait in ("front", "address", "workers", "replicas", "threads", "pool_size"):
            if getattr(old, trait) != getattr(new, trait):
                yield f"process {name}: {trait} {getattr(old, trait)} -> {getattr(new, trait)}"
        if old.database_url != new.database_url:
            yield f"process {name}: another database"


def _changed_calls(before: Topology, after: Topology, modules: Sequence[Module]) -> Iterator[str]:
    both = [edge for edge in _edges(before, modules) if edge in set(_edges(after, modules))]
    for caller, callee in both:
        old, new = _is_remote(before, caller, callee), _is_remote(after, caller, callee)
        if old != new:
            yield f"calls {caller} -> {callee}: {'over the network' if new else 'in the process'} now"
        if before.edge(caller, callee) != after.edge(caller, callee):
            yield f"calls {caller} -> {callee}: other terms"
