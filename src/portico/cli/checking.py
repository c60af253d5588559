"""Commands that look at an application and start nothing: ``check …``, ``settings``, ``routes``."""

from __future__ import annotations

from typing import Annotated

import typer

from portico.check import application as checks
from portico.cli.options import AppOption, TopologyArgument, chosen_application

commands = typer.Typer()
check = typer.Typer(invoke_without_command=True)
commands.add_typer(check, name="check")


@check.callback()
def fits(context: typer.Context, app: AppOption = None) -> None:
    """Say whether the application fits together: modules, settings, routes, migrations. Starts nothing."""
    if context.invoked_subcommand is not None:
        context.obj = app
        return
    application = chosen_application(app)
    found = checks.findings(application)
    for line in found or [*checks.summary(application), f"{application.name} fits together"]:
        print(line)
    if found:
        raise typer.Exit(1)


@check.command()
def split(
    context: typer.Context,
    move: Annotated[str, typer.Option(help="The module that would move.")],
    to: Annotated[
        str | None,
        typer.Option(help="The process it would move to, by default one of its own."),
    ] = None,
    topology: TopologyArgument = None,
    app: AppOption = None,
) -> None:
    """Say what would lose atomicity or consistency if a module moved out of its process. Starts nothing.

    Without TOPOLOGY it moves out of a process that has all modules.

    An error would break or lose atomicity, a note changes a meaning. Exits with 1 when there are errors.
    """
    from portico.check.split import report  # which needs the database's driver

    application = chosen_application(app or context.obj)
    found = report(application, move, to=to, topology=topology)
    for line in found.lines():
        print(line)
    if found.errors:
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
