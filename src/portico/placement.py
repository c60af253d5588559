"""What one process of a topology knows: which modules it runs, and where the others are."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from portico.demand import Demand
from portico.module import providers, service_of, start_order
from portico.settings import SettingsError
from portico.topology import TopologyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico.app import Application
    from portico.module import Module
    from portico.settings import Settings
    from portico.topology import Process, Topology

_REDIS_SCHEMES = ("redis", "rediss", "unix")

KERNEL = "portico"
"""The name under which the kernel's own services are registered beside the modules'."""

KERNEL_SERVICE = "portico.v1.EventsService"
"""What every process with data serves to the others."""


class Placement:
    """The view that ``process`` has of ``topology``, for an application of these ``modules``."""

    def __init__(self, topology: Topology, process: Process, modules: Sequence[Module]) -> None:
        self.topology = topology
        self.process = process
        self.enabled = start_order(modules, disabled=topology.disabled)
        self.disabled = [module for module in modules if module.name in topology.disabled]
        self.here = [module for module in self.enabled if module.name in process.modules]
        self._modules = {module.name: module for module in modules}
        self._providers = providers(modules)

    @staticmethod
    def chosen(application: Application, settings: Settings) -> Placement:
        """What the settings say. Raises TopologyError, SettingsError or ModuleError when that cannot be."""
        topology = application.topology(settings.topology)
        require_redis(topology, settings)
        return Placement(topology, _process(topology, settings), application.modules)

    @property
    def services(self) -> list[str]:
        """Every service of the application, in the order in which modules start; those turned off come last."""
        ordered = [*self.enabled, *self.disabled]
        return [service for module in ordered for service in module.services()]

    @property
    def commands_need_workflow(self) -> bool:
        """Whether there is any data that a command could leave half changed."""
        return any(module.owns_data for module in self.enabled)

    def home(self, service: str) -> str | None:
        """The process that serves ``service``; None when this one answers for it, or when nobody knows it."""
        module = self._providers.get(service)
        if module is None or module in self.topology.disabled:
            return None
        process = self.topology.process_of(module)
        return None if process.name == self.process.name else process.name

    def module_of(self, service: str) -> str:
        """The module that provides ``service``; empty when none does."""
        return self._providers.get(service, "")

    def is_here(self, stub_class: type) -> bool:
        """Whether the service that a generated stub class calls is answered for in this process."""
        return self.home(service_of(stub_class)) is None

    def elsewhere(self) -> list[Process]:
        """The other processes that run modules."""
        return [
            process
            for process in self.topology.processes.values()
            if process.modules and process.name != self.process.name
        ]

    def modules_of(self, process: Process) -> list[Module]:
        """The modules that ``process`` runs, in the order in which they start."""
        return [self._modules[name] for name in process.modules]

    def services_of(self, process: Process) -> list[str]:
        """The services that ``process`` serves."""
        return [service for module in self.modules_of(process) for service in module.services()]

    def demands(self, settings: Settings) -> list[Demand]:
        """What each process on the database of this one may open; the settings hold where the topology is silent."""
        return [
            Demand(
                process.name,
                self._workers(process, settings),
                process.replicas,
                process.pool_size or settings.database_pool_size,
            )
            for process in self.topology.processes.values()
            if process.database_url == self.process.database_url
            and any(module.owns_data for module in self.modules_of(process))
        ]

    def _workers(self, process: Process, settings: Settings) -> int:
        """As the topology says; of this process perhaps more, by ``--workers``."""
        here = process.name == self.process.name
        return max(process.workers, settings.supervised.workers if here else 1)

    def reactions_of(self, process: Process) -> dict[str, tuple[str, ...]]:
        """The event types that the modules of ``process`` react to, for each that reacts to anything."""
        from portico.events import reacted_to  # with data, and so with a database driver

        found = {
            module.name: tuple(
                dict.fromkeys(each for kind in module.reactions for each in reacted_to(kind))
            )
            for module in self.modules_of(process)
        }
        return {module: types for module, types in found.items() if types}

    def packages(self) -> dict[str, str]:
        """The module that each package of a contract belongs to; without those that several have services in."""
        owners: dict[str, set[str]] = {}
        for service, module in self._providers.items():
            owners.setdefault(service.rpartition(".")[0], set()).add(module)
        return {package: min(its) for package, its in owners.items() if len(its) == 1}

    def callers(self) -> Mapping[str, frozenset[str]]:
        """The modules that may call each service served here, by its full name; the kernel's, all of them."""
        asked: dict[str, set[str]] = {
            service: set() for module in self.here for service in module.services()
        }
        for module in self.enabled:
            for service in module.calls():
                if service in asked:
                    asked[service].add(module.name)
        everybody = {KERNEL_SERVICE: [module.name for module in self.enabled]}
        return {service: frozenset(names) for service, names in (asked | everybody).items()}


def require_redis(topology: Topology, settings: Settings) -> None:
    """Raise SettingsError when events go between the processes by a Redis that the settings do not name.

    Told before anything starts. Whether that Redis can be reached is another matter: it may come later.
    """
    if not topology.needs_redis:
        return
    if settings.redis_url is None:
        raise SettingsError(
            f'redis_url is required: topology {topology.name} has events = "redis"; set REDIS_URL, the same'
            " in all its processes, or leave the line out, and events go by calls"
        )
    if urlsplit(settings.redis_url.get_secret_value()).scheme not in _REDIS_SCHEMES:
        raise SettingsError(
            "redis_url is no address of a Redis: it begins with redis://, rediss:// for TLS, or unix://"
        )


def _process(topology: Topology, settings: Settings) -> Process:
    names = list(topology.processes)
    if settings.process:
        if settings.process not in names:
            raise SettingsError(
                f"topology {topology.name} has no process {settings.process}; it has {', '.join(names)}"
            )
        return topology.processes[settings.process]
    if topology.is_split:
        raise TopologyError(
            f"topology {topology.name} has the processes {', '.join(names)}: choose one with --process,"
            " or start all of them with `portico up`"
        )
    return topology.processes[names[0]]
