"""A module's manifest, and the order in which modules start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portico.rpc.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    ``requires`` lists the generated stub classes of other modules. ``wire`` registers the module's
    own classes; the container it gets already holds the stubs, ``Database``, ``Events``,
    ``Workflows``, ``Clock``, ``Ids`` and the module's ``settings``. ``name`` is also the Postgres
    schema, where ``owns_data``. ``reactions`` are classes with ``@reacts_to`` methods;
    ``demonstration`` a class with an idempotent ``load()``. ``advice`` is a class whose ``give()`` is
    called once at every start, after the demonstration: it warns of settings that leave the module lame.
    """

    name: str
    provides: Mapping[AddServicer, type] = field(default_factory=dict)
    requires: Sequence[type] = ()
    reactions: Sequence[type] = ()
    settings: type[BaseModel] | None = None
    owns_data: bool = False
    wire: Callable[[punq.Container], None] = _wire_nothing
    demonstration: type | None = None
    advice: type | None = None

    def services(self) -> tuple[str, ...]:
        """The full names of the services this module provides."""
        found = Registry()
        for add in self.provides:
            add(_NoServicer(), found.registrar(self.name))
        return tuple(found.services)


def start_order(modules: Sequence[Module]) -> list[Module]:
    """The modules, each after those it requires.

    Raises ModuleError for a name or service given twice, a requirement that nobody provides, and
    modules that require each other in a circle.
    """
    _refuse_namesakes(modules)
    providers = _providers(modules)
    needs = {module.name: _needs(module, providers) for module in modules}
    by_name = {module.name: module for module in modules}
    ordered: dict[str, None] = {}
    for module in modules:
        _visit(module.name, needs, ordered, ())
    return [by_name[name] for name in ordered]


def service_of(stub_class: type) -> str:
    """The full name of the service a generated stub class calls."""
    paths: list[str] = []

    class Recorder:
        def __getattr__(self, kind: str) -> Callable[..., None]:
            return lambda path, *_, **__: paths.append(path)

    stub_class(Recorder())
    if not paths:
        raise ModuleError(f"{stub_class.__qualname__} is not a generated stub: it has no methods")
    return paths[0].strip("/").partition("/")[0]


class _NoServicer:
    """Stands in for a servicer while only the names of its service are asked for."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def _refuse_namesakes(modules: Sequence[Module]) -> None:
    names = [module.name for module in modules]
    for name in names:
        if names.count(name) > 1:
            raise ModuleError(f"two modules are called {name}")


def _providers(modules: Sequence[Module]) -> dict[str, str]:
    providers: dict[str, str] = {}
    for module in modules:
        for service in module.services():
            if service in providers:
                raise ModuleError(
                    f"{service} is provided by both {providers[service]} and {module.name}"
                )
            providers[service] = module.name
    return providers


def _needs(module: Module, providers: Mapping[str, str]) -> list[str]:
    needed = []
    for stub_class in module.requires:
        service = service_of(stub_class)
        if service not in providers:
            raise ModuleError(f"module {module.name} requires {service}, which no module provides")
        needed.append(providers[service])
    return needed


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
