"""Commands about where modules run: ``topology …`` and ``certs``."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from portico.check.placement import differences, shown
from portico.cli.options import TOPOLOGY_HELP, AppOption, TopologyArgument, chosen_application
from portico.clock import SystemClock

if TYPE_CHECKING:
    from portico.app import Application
    from portico.render import Format
    from portico.topology import Topology

_SCRAPE_SECONDS = 5

commands = typer.Typer()
topologies = typer.Typer(no_args_is_help=True)
commands.add_typer(topologies, name="topology", help="Look at where modules run.")


@topologies.command()
def show(topology: TopologyArgument = None, app: AppOption = None) -> None:
    """Print the processes of TOPOLOGY, their modules, and which calls go over the network."""
    application = chosen_application(app)
    found = application.topology(topology)
    for line in (*shown(found, application.modules), *_strategies(application, found)):
        print(line)


def _strategies(application: Application, topology: Topology) -> list[str]:
    if not any(module.owns_data for module in application.modules):
        return []
    from portico.check.workflows import strategies  # which needs the database's driver

    return [f"  {line}" for line in strategies(application, topology)]


@topologies.command()
def check(topology: TopologyArgument = None, app: AppOption = None) -> None:
    """Say whether TOPOLOGY fits the application. Starts nothing."""
    application = chosen_application(app)
    found = application.topology(topology)
    print(f"topology {found.name} fits {application.name}")


@topologies.command()
def diff(before: Path, after: Path, app: AppOption = None) -> None:
    """Print what changes from topology BEFORE to topology AFTER."""
    application = chosen_application(app)
    found = differences(
        application.topology(before), application.topology(after), application.modules
    )
    for line in found or ["no difference"]:
        print(line)


@topologies.command()
def render(
    topology: TopologyArgument = None,
    format: Annotated[str, typer.Option(help="compose, kubernetes or envoy.")] = "compose",
    profile: Annotated[
        list[str] | None,
        typer.Option(help="NAME=TOPOLOGY: a further topology in the compose file, as a profile."),
    ] = None,
    app: AppOption = None,
) -> None:
    """Print what a cluster needs to run TOPOLOGY: compose, Kubernetes manifests or Envoy's configuration."""
    from portico.render import render as rendered

    application = chosen_application(app)
    named = dict(each.partition("=")[::2] for each in profile or ())
    text = rendered(
        application.topology(topology),
        application,
        application.settings_class(),
        format=cast("Format", format),
        profiles={name: application.topology(Path(other)) for name, other in named.items()},
    )
    print(text, end="")


@topologies.command()
def graph(
    metrics: Annotated[
        list[str],
        typer.Argument(help="Where processes tell their metrics: http://host:port, or files."),
    ],
) -> None:
    """Print who calls whom, how often and how fast, as a mermaid flowchart made of live metrics."""
    from portico.telemetry.graph import mermaid

    print(mermaid(_scraped(each) for each in metrics), end="")


@commands.command()
def certs(
    topology: Annotated[Path, typer.Argument(help=TOPOLOGY_HELP)],
    out: Annotated[Path, typer.Option(help="The folder for them; closed to other users.")],
    days: Annotated[
        int, typer.Option(min=1, max=825, help="How long the certificates are good.")
    ] = 30,
    app: AppOption = None,
) -> None:
    """Make a development CA in OUT, or keep the one there, and a certificate for each process of TOPOLOGY."""
    from portico.security.authority import issue_all

    application = chosen_application(app)
    for line in issue_all(application.topology(topology), out, days=days, clock=SystemClock()):
        print(line)


def _scraped(place: str) -> str:
    if not place.startswith(("http://", "https://")):
        return Path(place).read_text()
    url = place if place.endswith("/metrics") else f"{place.rstrip('/')}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=_SCRAPE_SECONDS) as response:  # noqa: S310  # http, as checked
            text: str = response.read().decode()
    except OSError as failure:
        raise OSError(f"{url} tells no metrics: {failure}") from failure
    return text
