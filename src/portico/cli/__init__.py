"""The command line: ``serve``, ``up``, ``check``, ``topology`` and the rest, listed by ``portico --help``."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from portico.cli import checking, eventing, laboratory, placing, running, serving
from portico.cli.options import load_application
from portico.data.folder_lock import FolderInUseError
from portico.data.migrations import MigrationError
from portico.demand import TooManyConnectionsError
from portico.module import ModuleError
from portico.security.bundle import CertificateError
from portico.settings import SettingsError
from portico.storage import StorageError
from portico.topology import TopologyError

__all__ = ["cli", "load_application", "main"]

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for _room in (serving, checking, placing):
    cli.add_typer(_room.commands)
cli.add_typer(running.commands, name="workflow")
cli.add_typer(eventing.commands, name="events", help="Look after events.")
cli.add_typer(laboratory.commands, name="lab", help="Measure what a network hop costs.")

_MENDABLE = (
    CertificateError,
    SettingsError,
    ModuleError,
    TopologyError,
    FolderInUseError,
    MigrationError,
    StorageError,
    TooManyConnectionsError,
)


def main() -> None:
    """Run the command line; what a person can mend is told in a sentence, without a traceback."""
    try:
        cli()
    except (*_MENDABLE, OSError) as failure:
        print(f"portico: {failure}", file=sys.stderr)
        sys.exit(1)


def _version(asked: bool) -> None:  # typer hands it over like this
    if asked:
        print(f"portico {version('portico')}")
        raise typer.Exit


@cli.callback()
def options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Serve, migrate, check and measure an application built on Portico."""
