"""A module that moves to another process: the topologies before and after, and whom it parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portico.module import providers, start_order
from portico.topology import Process, Topology, TopologyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.module import Module


@dataclass(frozen=True, kw_only=True)
class Move:
    """``module`` leaves the process ``source`` for ``target``."""

    module: str
    source: str
    target: str
    before: Topology
    after: Topology
    modules: Sequence[Module]

    @staticmethod
    def of(
        module: str, *, to: str | None = None, topology: Topology, modules: Sequence[Module]
    ) -> Move:
        """The move of ``module`` to the process ``to``, one of the topology's or a new one.

        Without ``to`` it is a new process that bears the module's name. Raises TopologyError for a
        module that is off or unknown, and for one that is there already.
        """
        running = [name for process in topology.processes.values() for name in process.modules]
        if module not in running:
            raise TopologyError(
                f"no module {module} runs in topology {topology.name}; there are {', '.join(running)}"
            )
        source, target = topology.process_of(module).name, to or module
        if source == target:
            raise TopologyError(
                f"module {module} is in the process {target} already: name another one with --to"
            )
        enabled = start_order(modules, disabled=topology.disabled)
        return Move(
            module=module,
            source=source,
            target=target,
            before=topology,
            after=_moved(topology, module, target, [each.name for each in enabled]),
            modules=enabled,
        )

    @property
    def parted(self) -> list[tuple[str, str]]:
        """Callers and callees whose calls go over the network from now on."""
        return [ends for ends in self._edges() if self.parts(*ends)]

    @property
    def united(self) -> list[tuple[str, str]]:
        """Callers and callees whose calls do so no longer."""
        return [ends for ends in self._edges() if self.share(*ends) and not self._shared(*ends)]

    def parts(self, one: str, other: str) -> bool:
        """Whether two modules share a process before, and none afterwards."""
        return self._shared(one, other) and not self.share(one, other)

    def share(self, one: str, other: str) -> bool:
        """Whether two modules share a process afterwards."""
        return _in_one_process(self.after, one, other)

    def _shared(self, one: str, other: str) -> bool:
        return _in_one_process(self.before, one, other)

    def _edges(self) -> list[tuple[str, str]]:
        provided = providers(self.modules)
        return [
            (caller.name, callee)
            for caller in self.modules
            for callee in dict.fromkeys(provided.get(service, "") for service in caller.calls())
            if callee
        ]


def _in_one_process(topology: Topology, one: str, other: str) -> bool:
    return topology.process_of(one).name == topology.process_of(other).name


def _moved(topology: Topology, module: str, target: str, order: Sequence[str]) -> Topology:
    """The same topology with the module in ``target``; a process that is left with nothing to do is gone."""
    processes = {} if target in topology.processes else {target: Process(name=target)}
    for name, process in (processes | dict(topology.processes)).items():
        held = {each for each in process.modules if each != module}
        kept = held | {module} if name == target else held
        if kept or process.front:
            modules = tuple(each for each in order if each in kept)
            processes[name] = replace(process, modules=modules)
    return replace(topology, processes=processes)
