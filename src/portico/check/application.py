"""Whether an application fits together, said without starting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool

from portico.gateway.rules import RuleError, read_routes
from portico.module import ModuleError
from portico.rpc.contract import described
from portico.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.app import Application
    from portico.gateway.rules import Route
    from portico.module import Module


def findings(
    application: Application, *, environment: Mapping[str, str] | None = None
) -> list[str]:
    """What would stop the start or surprise a caller, a line each; empty when all is well.

    Looked at: requirements and circles, settings, REST routes, migrations. Nothing is connected to.
    """
    try:
        modules = application.in_order()
    except ModuleError as failure:
        return [str(failure)]
    return [
        *_settings(application, environment),
        *_routes(modules),
        *_migrations(application, modules),
    ]


def summary(application: Application) -> list[str]:
    """The modules in start order, each with its services, how many rpcs and how many REST routes."""
    lines = []
    for module in application.in_order():
        services = described(module.services())
        rpcs = sum(
            len(descriptor_pool.Default().FindServiceByName(name).methods) for name in services
        )
        routes = len(list(read_routes(descriptor_pool.Default(), services)))
        lines.append(
            f"{module.name}: {', '.join(services) or 'no services'}; {rpcs} rpcs, {routes} routes"
        )
    return lines


def routes(application: Application) -> list[Route]:
    """Every REST route, module by module in start order."""
    pool = descriptor_pool.Default()
    return [
        route
        for module in application.in_order()
        for route in read_routes(pool, described(module.services()))
    ]


def _settings(application: Application, environment: Mapping[str, str] | None) -> Iterator[str]:
    try:
        loaded = application.settings_class().load(environment=environment)
        if any(module.owns_data for module in application.modules):
            loaded.postgres_url()
    except SettingsError as failure:
        yield from str(failure).splitlines()


def _routes(modules: list[Module]) -> Iterator[str]:
    taken: dict[tuple[str, tuple[str, ...], str], str] = {}
    for module in modules:
        try:
            routes = list(read_routes(descriptor_pool.Default(), described(module.services())))
        except RuleError as failure:
            yield str(failure)
            continue
        for route in routes:
            key = route.http_method, route.template.segments, route.template.verb
            if key in taken:
                yield f"{route.method.full_name}: {taken[key]} has the same method and path"
            taken[key] = route.method.full_name


def _migrations(application: Application, modules: list[Module]) -> Iterator[str]:
    for module in modules:
        folder = application.migrations / module.name / "versions"
        if module.owns_data and not any(folder.glob("*.py")):
            yield f"module {module.name} owns data but has no migrations in {folder}"
