"""What the commands have in common: which application, which settings, which topology."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from portico.app import Application
from portico.data import EmbeddedPostgres
from portico.data.folder_lock import FolderInUseError
from portico.program import Program
from portico.settings import Settings, SettingsError, find_app
from portico.telemetry import logs

AppOption = Annotated[
    str | None, typer.Option("--app", help="The application, package.module:attribute.")
]
DemoOption = Annotated[bool, typer.Option("--demo", help="Load demonstration data and accounts.")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Also write the numbers to this file.")
]
TopologyOption = Annotated[
    Path | None,
    typer.Option(
        "--topology",
        help="The topology: a file, or the name of one that comes with the application.",
    ),
]
TOPOLOGY_HELP = "A file, or the name of a topology that comes with the application."
TopologyArgument = Annotated[Path | None, typer.Argument(help=TOPOLOGY_HELP)]
ProcessOption = Annotated[
    str | None, typer.Option("--process", help="Which of the topology's processes to be.")
]


def chosen_application(app: str | None) -> Application:
    """The application named on the command line, else by the settings. SettingsError when there is none."""
    return load_application(app or find_app())


def configured(app: str | None, **chosen: object) -> tuple[Application, Settings]:
    """The application and its settings, of which those ``chosen`` on the command line win."""
    application = chosen_application(app)
    settings = application.settings_class().load(
        chosen={name: value for name, value in chosen.items() if value is not None}
    )
    logs.configure(settings.log_level, settings.log_format, process=settings.process)
    return application, settings


def load_application(name: str) -> Application:
    """The ``Application`` at ``package.module:attribute``; SettingsError when there is none."""
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise SettingsError(f"app {name} does not say which attribute: write {name}:application")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as failure:
        last = traceback.extract_tb(failure.__traceback__)[-1]
        place = (
            f"in {Path.cwd()}"
            if last.name.startswith("_find_")
            else f"{last.filename}:{last.lineno}"
        )
        raise SettingsError(f"app {name} cannot be imported: {failure} ({place})") from failure
    if not isinstance(found, Application):
        raise SettingsError(f"app {name} is a {type(found).__name__}, not an Application")
    return found


@contextmanager
def at_rest(context: typer.Context) -> Iterator[Program]:
    """The program that ``context.obj`` chooses (app, topology, process), neither serving nor delivering.

    No server need run, and none is in the way. Exits with 1 when it has no data.
    """
    app, topology, process = context.obj
    application, settings = configured(
        app, topology=topology, process=process, demo=False, log_level="error"
    )
    program = _started(application, _together(application, settings))
    try:
        if program.storage is None:
            print("portico: no module of this process has data", file=sys.stderr)
            raise typer.Exit(1)
        yield program
    finally:
        program.stop()


def _together(application: Application, settings: Settings) -> Settings:
    """Without a topology, unless one process is chosen or they differ in what lies in which database."""
    topology = application.topology(settings.topology)
    is_one_database = not any(each.database_url for each in topology.processes.values())
    if settings.process or topology.disabled or not is_one_database:
        return settings
    return settings.model_copy(update={"topology": None})


def _started(application: Application, settings: Settings) -> Program:
    """On the embedded database of another program, where that has one."""
    program = Program(application, settings, serve=False)
    try:
        program.start(deliver=False)
    except FolderInUseError:
        url = EmbeddedPostgres.url_of_running(settings.data_folder / "postgres")
        if url is None:
            raise
        address = SecretStr(url.render_as_string(hide_password=False))
        beside = settings.model_copy(update={"database_url": address})
        program = Program(application, beside, serve=False)
        program.start(deliver=False)
    return program
