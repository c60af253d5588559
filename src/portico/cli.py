"""The command line: ``serve``, ``worker``, ``migrate``, ``check`` and the rest, listed by ``portico --help``."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from portico.app import Application
from portico.clock import SystemClock
from portico.data import migrations
from portico.data.folder_lock import FolderInUseError
from portico.data.migrations import MigrationError
from portico.demand import TooManyConnectionsError
from portico.module import ModuleError
from portico.program import Program
from portico.security.bundle import CertificateError
from portico.settings import Settings, SettingsError, find_app
from portico.storage import StorageError
from portico.supervise import orders
from portico.telemetry import logs
from portico.topology import TopologyError

if TYPE_CHECKING:
    from types import FrameType

    from portico.render import Format

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
lab = typer.Typer(no_args_is_help=True, help="Measure what a network hop costs.")
cli.add_typer(lab, name="lab")
topologies = typer.Typer(no_args_is_help=True, help="Look at where modules run.")
cli.add_typer(topologies, name="topology")

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
TopologyArgument = Annotated[
    Path | None,
    typer.Argument(help="A file, or the name of a topology that comes with the application."),
]
ProcessOption = Annotated[
    str | None, typer.Option("--process", help="Which of the topology's processes to be.")
]

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


@cli.command()
def serve(
    app: AppOption = None,
    topology: TopologyOption = None,
    process: ProcessOption = None,
    demo: DemoOption = False,
) -> None:
    """Serve the application, or one process of a topology, until told to stop (Ctrl-C, SIGTERM)."""
    application, settings = _load(app, topology=topology, process=process, demo=demo or None)
    _run(Program(application, settings))


@cli.command()
def worker(
    app: AppOption = None, topology: TopologyOption = None, process: ProcessOption = None
) -> None:
    """Deliver the application's events, or those of one process, without serving anything."""
    application, settings = _load(app, topology=topology, process=process)
    _run(
        Program(application, settings, serve=False), greeting=f"{application.name} delivers events"
    )


@cli.command()
def migrate(app: AppOption = None) -> None:
    """Bring the database up to date, all modules under one lock; safe to run from several places at once."""
    application, settings = _load(app)
    done = Program(application, settings, serve=False).migrate()
    for line in done or ["up to date"]:
        print(line)


@cli.command()
def migration(module: str, message: str, app: AppOption = None) -> None:
    """Write the next, empty migration of MODULE, named after MESSAGE, and print where it is."""
    application = load_application(app or find_app())
    if module not in {each.name for each in application.modules if each.owns_data}:
        raise SettingsError(f"{application.name} has no module {module} that owns data")
    print(migrations.new(module, message, folder=application.migrations))


@cli.command()
def check(app: AppOption = None) -> None:
    """Say whether the application fits together: modules, settings, routes, migrations. Starts nothing."""
    from portico.check.application import findings, summary

    application = load_application(app or find_app())
    found = findings(application)
    for line in found or [*summary(application), f"{application.name} fits together"]:
        print(line)
    if found:
        raise typer.Exit(1)


@cli.command()
def settings(app: AppOption = None) -> None:
    """List every setting of the application: its name in TOML, its variable, its default."""
    for row in load_application(app or find_app()).settings_class().describe():
        print(f"{row.name}  ({row.variable}, {row.default or 'not set'})\n    {row.meaning}")


@cli.command()
def routes(app: AppOption = None) -> None:
    """List the REST routes of the application, each with its rpc."""
    from portico.check.application import routes as found

    for route in found(load_application(app or find_app())):
        method = route.method
        print(
            f"{route.http_method:7} {route.template}  {method.containing_service.name}.{method.name}"
        )


@topologies.command()
def show(topology: TopologyArgument = None, app: AppOption = None) -> None:
    """Print the processes of TOPOLOGY, their modules, and which calls go over the network."""
    from portico.check.placement import shown

    application = load_application(app or find_app())
    for line in shown(application.topology(topology), application.modules):
        print(line)


@topologies.command("check")
def check_topology(topology: TopologyArgument = None, app: AppOption = None) -> None:
    """Say whether TOPOLOGY fits the application. Starts nothing."""
    application = load_application(app or find_app())
    found = application.topology(topology)
    print(f"topology {found.name} fits {application.name}")


@topologies.command()
def diff(before: Path, after: Path, app: AppOption = None) -> None:
    """Print what changes from topology BEFORE to topology AFTER."""
    from portico.check.placement import differences

    application = load_application(app or find_app())
    found = differences(
        application.topology(before), application.topology(after), application.modules
    )
    for line in found or ["no difference"]:
        print(line)


@topologies.command("render")
def render_topology(
    topology: TopologyArgument = None,
    format: Annotated[str, typer.Option(help="compose, kubernetes or envoy.")] = "compose",
    profile: Annotated[
        list[str] | None,
        typer.Option(help="NAME=TOPOLOGY: a further topology in the compose file, as a profile."),
    ] = None,
    app: AppOption = None,
) -> None:
    """Print what a cluster needs to run TOPOLOGY: compose, Kubernetes manifests or Envoy's configuration."""
    from portico.render import render

    application = load_application(app or find_app())
    named = dict(each.partition("=")[::2] for each in profile or ())
    text = render(
        application.topology(topology),
        application,
        application.settings_class(),
        format=cast("Format", format),
        profiles={name: application.topology(Path(other)) for name, other in named.items()},
    )
    print(text, end="")


@cli.command()
def certs(
    topology: Path,
    out: Annotated[Path, typer.Option(help="The folder for them; closed to other users.")],
    days: Annotated[
        int, typer.Option(min=1, max=825, help="How long the certificates are good.")
    ] = 30,
    app: AppOption = None,
) -> None:
    """Make a development CA in OUT, or keep the one there, and a certificate for each process of TOPOLOGY."""
    from portico.security.authority import issue_all

    application = load_application(app or find_app())
    for line in issue_all(application.topology(topology), out, days=days, clock=SystemClock()):
        print(line)


def _load(app: str | None, **chosen: object) -> tuple[Application, Settings]:
    """The application and its settings, of which those ``chosen`` on the command line win."""
    application = load_application(app or find_app())
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


def _run(program: Program, *, greeting: str = "") -> None:
    stop, hurry = threading.Event(), threading.Event()
    if program.settings.supervised.shared_ports:
        orders.follow()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set() or number == signal.SIGINT:
            hurry.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    program.start()
    try:
        print(greeting or program.greeting(), flush=True)
        stop.wait()
        if not hurry.is_set():
            program.linger(hurry)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # a second Ctrl-C does not wait
        program.stop()


@lab.command()
def hop(json: JsonOption = None) -> None:
    """One call four ways: bare method, local share, local copy, loopback TCP."""
    from portico.lab import hop as laboratory

    laboratory.main(json)


@lab.command()
def throughput(json: JsonOption = None) -> None:
    """Calls per second of the whole server pipeline over a bare grpcio server's.

    The bare server runs on ThreadPoolExecutor, as grpcio's documentation has it; the kernel's on worker threads of
    its own, which hand a call over for less. What they save can be more than all the checks cost.
    """
    from portico.lab import throughput as laboratory

    laboratory.main(json)


@lab.command()
def overload(json: JsonOption = None) -> None:
    """A server that is asked four times what it can do: what it still answers, and how fast."""
    from portico.lab import overload as laboratory

    laboratory.main(json)


@lab.command()
def trace(
    first: Path,
    second: Annotated[Path | None, typer.Argument(help="Another, to put beside it.")] = None,
    trace_id: Annotated[str, typer.Option(help="Which trace; by default the last.")] = "",
    name: Annotated[str, typer.Option(help="The last trace that begins so.")] = "",
) -> None:
    """Print a trace out of span files (setting trace_file) as a tree; two, side by side, and whether they agree."""
    from portico.lab import trace as laboratory

    raise typer.Exit(laboratory.main(first, second, trace_id=trace_id, name=name))
