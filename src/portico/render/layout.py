"""An application laid out over the processes of a topology: what every renderer asks."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from google.protobuf import descriptor_pool
from pydantic import ValidationError

from portico.clock import SystemClock
from portico.events.reactions import reacted_to
from portico.gateway.rules import read_routes
from portico.module import providers
from portico.rpc.contract import described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import grpc

    from portico.app import Application
    from portico.module import Module
    from portico.settings import Settings
    from portico.topology import Process, Topology

HOP_PORT = 50052
"""Where a process is called by the others, in a container of its own."""


@dataclass(frozen=True)
class Layout:
    """Which process runs, calls and needs what. Nothing is started, and no setting is read."""

    topology: Topology
    application: Application
    settings_class: type[Settings]

    @property
    def name(self) -> str:
        """The application's name as DNS and Kubernetes can bear it."""
        return re.sub(r"[^a-z0-9]+", "-", self.application.name.lower()).strip("-") or "application"

    @property
    def processes(self) -> Sequence[Process]:
        """Every process, callees before callers where that is possible."""
        return list(self.topology.processes.values())

    def modules(self, process: Process) -> list[Module]:
        """The modules that ``process`` runs."""
        return [module for module in self._enabled if module.name in process.modules]

    def owns_data(self, process: Process) -> bool:
        """Whether ``process`` needs a database."""
        return any(module.owns_data for module in self.modules(process))

    def is_called(self, process: Process) -> bool:
        """Whether other processes may call ``process``, so that it needs an address."""
        return self.topology.is_split and bool(process.modules)

    def callees(self, process: Process) -> list[str]:
        """The processes that ``process`` calls: for its modules, its events, its clients."""
        found = self._calls[process.name]
        return [name for name in self.topology.processes if name in found]

    def callers(self, process: Process) -> list[str]:
        """The processes that call ``process``."""
        return [name for name in self.topology.processes if process.name in self._calls[name]]

    def services(self) -> list[str]:
        """The services that are on and have REST routes, by their full names."""
        pool = descriptor_pool.Default()
        names = described([name for module in self._enabled for name in module.services()])
        return sorted(name for name in names if any(read_routes(pool, [name])))

    def default(self, setting: str) -> Any:
        """What a setting of the kernel is when nobody sets it."""
        return self.settings_class.model_fields[setting].default

    @property
    def _enabled(self) -> list[Module]:
        return [
            module
            for module in self.application.modules
            if module.name not in self.topology.disabled
        ]

    @cached_property
    def _calls(self) -> Mapping[str, frozenset[str]]:
        """The processes that each process calls."""
        calls: defaultdict[str, set[str]] = defaultdict(set)
        for caller, callee in (*self._requirements(), *self._events()):
            calls[self._home(caller)].add(self._home(callee))
        called = {process.name for process in self.processes if process.modules}
        keys = self._key_holders()
        for process in self.processes:
            calls[process.name] |= called if process.front else keys
            calls[process.name].discard(process.name)
        return {name: frozenset(callees) for name, callees in calls.items()}

    def _home(self, module: str) -> str:
        return self.topology.process_of(module).name

    def _requirements(self) -> Iterable[tuple[str, str]]:
        provided = providers(self._enabled)
        for module in self._enabled:
            for needed in module.needs(provided):
                yield module.name, needed

    def _events(self) -> Iterable[tuple[str, str]]:
        """Who publishes and who reacts: an event's publisher brings it to where it is reacted to."""
        publishers = {
            _package(service): module.name
            for module in self._enabled
            for service in module.services()
        }
        for module in self._enabled:
            for event in (event for kind in module.reactions for event in reacted_to(kind)):
                if _package(event) in publishers:
                    yield publishers[_package(event)], module.name

    def _key_holders(self) -> set[str]:
        """The processes that every other one asks in order to tell who calls: where the authenticator calls."""
        if self.application.authenticator is None:
            return set()
        asked = _Asked()
        try:
            self.application.authenticator(
                cast("grpc.Channel", asked), self.settings_class(), SystemClock()
            )
        except ValidationError:  # a setting that only the operator knows: it could be anybody
            return {process.name for process in self.processes if process.modules}
        provided = providers(self._enabled)
        return {self._home(provided[name]) for name in asked.services if name in provided}


class _Asked:
    """Stands in for a channel while stubs are made: it remembers their services."""

    def __init__(self) -> None:
        self.services: set[str] = set()

    def __getattr__(self, kind: str) -> Callable[..., None]:
        return lambda path, *_, **__: self.services.add(path.strip("/").partition("/")[0])


def _package(full_name: str) -> str:
    return full_name.rpartition(".")[0]
