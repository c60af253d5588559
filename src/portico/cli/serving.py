"""Commands that run an application: ``serve``, ``up``, ``worker``, ``migrate``."""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated

import typer

from portico.cli.options import (
    TOPOLOGY_HELP,
    AppOption,
    DemoOption,
    ProcessOption,
    TopologyOption,
    chosen_application,
    configured,
)
from portico.data import migrations
from portico.program import Program
from portico.settings import SettingsError
from portico.supervise import orders, up, workers

if TYPE_CHECKING:
    from types import FrameType

commands = typer.Typer()


@commands.command()
def serve(
    app: AppOption = None,
    topology: TopologyOption = None,
    process: ProcessOption = None,
    workers_: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=256, help="So many copies share the ports; one core each."
        ),
    ] = None,
    demo: DemoOption = False,
) -> None:
    """Serve the application, or one process of a topology, until told to stop (Ctrl-C, SIGTERM)."""
    application, settings = configured(app, topology=topology, process=process, demo=demo or None)
    number = workers.count(application, settings, asked=workers_)
    if number == 1:
        _run(Program(application, settings))
        return
    command = [sys.executable, "-m", "portico", *sys.argv[1:]]
    raise typer.Exit(workers.run(application, settings, workers=number, command=command))


@commands.command("up")
def run_topology(
    topology: Annotated[Path, typer.Argument(help=TOPOLOGY_HELP)],
    app: AppOption = None,
    demo: DemoOption = False,
    mtls: Annotated[
        bool,
        typer.Option("--mtls", help="Put calls between processes under TLS, with a CA of its own."),
    ] = False,
) -> None:
    """Run all processes of TOPOLOGY on this machine, until told to stop; SIGHUP reads the file again."""
    application, settings = configured(app, demo=demo or None)
    file = application.topology_file(topology)
    found = application.topology(file)
    raise typer.Exit(up.run(found, application, settings, file=file, demo=demo, app=app, mtls=mtls))


@commands.command()
def worker(
    app: AppOption = None, topology: TopologyOption = None, process: ProcessOption = None
) -> None:
    """Deliver events and finish workflows, of all modules or of one process, without serving anything."""
    application, settings = configured(app, topology=topology, process=process)
    _run(
        Program(application, settings, serve=False), greeting=f"{application.name} delivers events"
    )


@commands.command()
def migrate(
    app: AppOption = None, topology: TopologyOption = None, process: ProcessOption = None
) -> None:
    """Bring the database up to date, all modules under one lock; safe to run from several places at once."""
    application, settings = configured(app, topology=topology, process=process)
    done = Program(application, settings, serve=False).migrate()
    for line in done or ["up to date"]:
        print(line)


@commands.command()
def migration(module: str, message: str, app: AppOption = None) -> None:
    """Write the next, empty migration of MODULE, named after MESSAGE, and print where it is."""
    application = chosen_application(app)
    if module not in {each.name for each in application.modules if each.owns_data}:
        raise SettingsError(f"{application.name} has no module {module} that owns data")
    print(migrations.new(module, message, folder=application.migrations))


def _run(program: Program, *, greeting: str = "") -> None:
    stop, hurry = threading.Event(), threading.Event()
    told: SimpleQueue[int] = SimpleQueue()

    def on_signal(number: int, frame: FrameType | None) -> None:
        """Nothing but this: an event's lock may be held by the very code that the signal interrupts."""
        told.put(number)

    def obey() -> None:
        while True:
            if told.get() == signal.SIGINT or stop.is_set():
                hurry.set()
            stop.set()

    threading.Thread(target=obey, name="portico-signals", daemon=True).start()
    impatient = signal.SIG_DFL  # a second Ctrl-C does not wait
    if program.settings.supervised.shared_ports:
        impatient = signal.SIG_IGN  # a supervisor that does not want to wait any longer kills
        orders.follow(at_end=partial(told.put, signal.SIGINT))  # it has been killed itself
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
            signal.signal(number, impatient)
        program.stop()
