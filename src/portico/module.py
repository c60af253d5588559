"""A module's manifest, and the order in which modules start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portico.rpc.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import punq
    from pydantic import BaseModel

    AddServicer = (
        Any  # a mapping is invariant in its keys, and each generated function has types of its own
    )


class ModuleError(Exception):
    """The modules of an application do not fit together; the message names the ones at fault."""


def _wire_nothing(container: punq.Container) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Module:
    """What a module provides and requires, and how it is put together.

    ``provides`` maps each generated ``add_…Servicer_to_server`` function to the servicer class;
    ``requires`` lists the generated stub classes of other modules, ``optional`` those it can do without:
    where such a module is turned off, its stub answers UNIMPLEMENTED with the reason MODULE_DISABLED.
    ``wire`` registers the module's own classes; the container it gets already holds the stubs, ``Database``,
    ``Events``, ``Workflows``, ``Clock``, ``Ids`` and the module's ``settings``. ``name`` is also the Postgres
    schema, where ``owns_data``. ``reactions`` are classes with ``@reacts_to`` methods;
    ``demonstration`` a class with an idempotent ``load()``. ``advice`` is a class whose ``give()`` is
    called once at every start, after the demonstration: it warns of settings that leave the module lame.
    """

    name: str
    provides: Mapping[AddServicer, type] = field(default_factory=dict)
    requires: Sequence[type] = ()
    optional: Sequence[type] = ()
    reactions: Sequence[type] = ()
    settings: type[BaseModel] | None = None
    owns_data: bool = False
    wire: Callable[[punq.Container], None] = _wire_nothing
    demonstration: type | None = None
    advice: type | None = None

    def services(self) -> tuple[str, ...]:
        """The full names of the services this module provides."""
        found = Registry()
        self.describe(found)
        return tuple(found.services)

    def describe(self, registry: Registry) -> None:
        """Register what this module provides, without anybody who would do it."""
        for add in self.provides:
            add(_NoServicer(), registry.registrar(self.name))

    def calls(self) -> tuple[str, ...]:
        """The full names of the services this module calls, whether it can do without them or not."""
        return tuple(service_of(stub_class) for stub_class in (*self.requires, *self.optional))

    def needs(self, provided: Mapping[str, str]) -> list[str]:
        """The modules it calls; ``provided`` names the module of each service.

        Raises ModuleError for a requirement that is not among them.
        """
        needed = []
        for stub_class in self.requires:
            service = service_of(stub_class)
            if service not in provided:
                raise ModuleError(
                    f"module {self.name} requires {service}, which no module provides"
                )
            needed.append(provided[service])
        there = (provided.get(service_of(stub_class)) for stub_class in self.optional)
        return [*needed, *filter(None, there)]


def start_order(
    modules: Sequence[Module], *, disabled: Collection[str] = frozenset()
) -> list[Module]:
    """The modules that are not ``disabled``, each after those it requires.

    Raises ModuleError for a name or service given twice, a requirement that nobody provides or
    that is disabled, and modules that require each other in a circle.
    """
    _refuse_namesakes(modules)
    provided = providers(modules)
    enabled = [module for module in modules if module.name not in disabled]
    for module in enabled:
        _refuse_without(module, provided, disabled)
    there = {service: name for service, name in provided.items() if name not in disabled}
    needs = {module.name: module.needs(there) for module in enabled}
    by_name = {module.name: module for module in enabled}
    ordered: dict[str, None] = {}
    for module in enabled:
        _visit(module.name, needs, ordered, ())
    return [by_name[name] for name in ordered]


def providers(modules: Sequence[Module]) -> dict[str, str]:
    """The module of each service, by the service's full name. ModuleError when two provide one."""
    found: dict[str, str] = {}
    for module in modules:
        for service in module.services():
            if service in found:
                raise ModuleError(
                    f"{service} is provided by both {found[service]} and {module.name}"
                )
            found[service] = module.name
    return found


def service_of(stub_class: type) -> str:
    """The full name of the service a generated stub class calls."""
    return paths_of(stub_class)[0].strip("/").partition("/")[0]


def paths_of(stub_class: type) -> list[str]:
    """The path of each rpc that a generated stub class can call. ModuleError for one that is none."""
    paths: list[str] = []

    class Recorder:
        def __getattr__(self, kind: str) -> Callable[..., None]:
            return lambda path, *_, **__: paths.append(path)

    stub_class(Recorder())
    if not paths:
        raise ModuleError(f"{stub_class.__qualname__} is not a generated stub: it has no methods")
    return paths


class _NoServicer:
    """Stands in for a servicer while only the names of its service are asked for."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def _refuse_namesakes(modules: Sequence[Module]) -> None:
    names = [module.name for module in modules]
    for name in names:
        if names.count(name) > 1:
            raise ModuleError(f"two modules are called {name}")


def _refuse_without(module: Module, provided: Mapping[str, str], disabled: Collection[str]) -> None:
    for stub_class in module.requires:
        service = service_of(stub_class)
        if provided.get(service) in disabled:
            raise ModuleError(
                f"module {module.name} requires {service} of module {provided[service]}, which is"
                f" turned off: turn {module.name} off too, or declare the requirement optional"
            )


def _visit(
    name: str, needs: Mapping[str, list[str]], ordered: dict[str, None], path: tuple[str, ...]
) -> None:
    if name in ordered:
        return
    if name in path:
        circle = " → ".join((*path[path.index(name) :], name))
        raise ModuleError(f"modules require each other in a circle: {circle}")
    for needed in needs[name]:
        _visit(needed, needs, ordered, (*path, name))
    ordered[name] = None
