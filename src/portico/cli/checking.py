"""Commands that look at an application and start nothing: ``check``, ``settings``, ``routes``."""

from __future__ import annotations

import typer

from portico.check import application as checks
from portico.cli.options import AppOption, chosen_application

commands = typer.Typer()


@commands.command()
def check(app: AppOption = None) -> None:
    """Say whether the application fits together: modules, settings, routes, migrations. Starts nothing."""
    application = chosen_application(app)
    found = checks.findings(application)
    for line in found or [*checks.summary(application), f"{application.name} fits together"]:
        print(line)
    if found:
        raise typer.Exit(1)


@commands.command()
def settings(app: AppOption = None) -> None:
    """List every setting of the application: its name in TOML, its variable, its default."""
    for row in chosen_application(app).settings_class().describe():
        print(f"{row.name}  ({row.variable}, {row.default or 'not set'})\n    {row.meaning}")


@commands.command()
def routes(app: AppOption = None) -> None:
    """List the REST routes of the application, each with its rpc."""
    for route in checks.routes(chosen_application(app)):
        method = route.method
        print(
            f"{route.http_method:7} {route.template}  {method.containing_service.name}.{method.name}"
        )
