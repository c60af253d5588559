"""``portico up``: every process of a topology on this machine, under one supervisor."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from typing import TYPE_CHECKING

from portico.clock import SystemClock
from portico.module import ModuleError, start_order
from portico.placement import require_redis
from portico.settings import SettingsError
from portico.supervise.output import Output
from portico.supervise.plan import addresses_of, specs_of, stop_seconds
from portico.supervise.premises import Premises
from portico.supervise.run import ChangeRefusedError
from portico.supervise.run import run as run_children
from portico.supervise.supervisor import Supervisor
from portico.telemetry import logs
from portico.topology import Topology, TopologyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from portico.app import Application
    from portico.module import Module
    from portico.settings import Settings
    from portico.supervise.child import ChildSpec

_log = logs.logger("portico.supervise")


def run(
    topology: Topology,
    application: Application,
    settings: Settings,
    *,
    file: Path,
    demo: bool = False,
    app: str | None = None,
    mtls: bool = False,
) -> int:
    """Run ``topology``, which was read from ``file``, until SIGINT or SIGTERM; the exit code.

    At SIGHUP the file is read again, and the processes go over to what it says by then without a
    failed call; when it says nothing new, each is replaced by a fresh one. ``app`` is the
    application's name for the children, where no setting has it. With ``mtls`` the calls between
    processes are under certificates of a development authority in the data folder.

    Raises SettingsError without a Redis that the topology needs, OSError when a port is taken, and what
    the embedded database and migrations raise.
    """
    require_redis(topology, settings)
    with Premises(application, settings) as premises:
        house = _House(
            topology, application, settings, premises, file=file, demo=demo, app=app, mtls=mtls
        )
        supervisor = Supervisor(output=Output(), stop_seconds=stop_seconds(settings))
        return asyncio.run(
            run_children(
                supervisor,
                house.plan,
                announce=lambda: house.announce(supervisor),
                changed=house.settle,
                closing=premises.shut,
            )
        )


class _House:
    """The topology that runs, and the one that the file asks for."""

    def __init__(
        self,
        topology: Topology,
        application: Application,
        settings: Settings,
        premises: Premises,
        *,
        file: Path,
        demo: bool,
        app: str | None,
        mtls: bool,
    ) -> None:
        self._first: Topology | None = topology
        self._topology = topology
        self._wanted = topology, b""
        self._application = application
        self._settings = settings
        self._premises = premises
        self._file = file
        self._demo = demo
        self._app = app or settings.app
        self._mtls = mtls
        self._read = b""
        self._generation = 0
        self._reading = 0

    def plan(self) -> Sequence[ChildSpec]:
        """The children as the file has them now. Raises ChangeRefusedError when it cannot be used."""
        content = self._content()
        if self._first is not None:
            topology, self._first = self._first, None
        else:
            topology = self._again()
            self._generation += content == self._read
        self._prepare_database(topology)
        specs = specs_of(
            topology,
            settings=self._settings,
            premises=self._premises,
            command=self._command(content),
            generation=self._generation,
            certificates=self._certificates(topology),
        )
        self._wanted = topology, content
        return specs

    def announce(self, supervisor: Supervisor) -> None:
        """All are ready: greet as the front does."""
        self._topology, self._read = self._wanted
        self._tell_places()
        for process in self._topology.processes.values():
            if process.front:
                print(supervisor.greeting(process.name), flush=True)  # noqa: T201  # a greeting
                return

    def settle(self) -> None:
        """A change is through."""
        self._topology, self._read = self._wanted
        self._premises.keep([*self._topology.processes.values()])
        self._issue(self._topology)  # without what was for the way here
        _log.info("the topology is in place", topology=self._topology.name)
        print(f"{self._topology.name} is in place", flush=True)  # noqa: T201  # whoever asked waits for it
        self._tell_places()

    def _tell_places(self) -> None:
        called = addresses_of(self._topology, self._premises)
        for process in self._topology.processes.values():
            http = self._premises.http(process)
            _log.info(
                "where a process is",
                process=process.name,
                modules=list(process.modules),
                called_at=called.get(process.name, ""),
                metrics=f"http://{http.address}/metrics",
            )

    def _content(self) -> bytes:
        try:
            return self._file.read_bytes()
        except OSError as failure:
            raise ChangeRefusedError(f"topology {self._file}: {failure.strerror}") from failure

    def _again(self) -> Topology:
        try:
            topology = Topology.load(self._file, self._application.modules)
            require_redis(topology, self._settings)
        except (TopologyError, ModuleError, SettingsError) as failure:
            raise ChangeRefusedError(str(failure)) from failure
        return topology

    def _command(self, content: bytes) -> list[str]:
        """How a child is started: on a copy of the file, so that one that is started again later finds it as it was."""
        self._reading += 1
        copy = self._premises.folder / f"{self._file.stem}-{self._reading}.toml"
        copy.write_bytes(content)
        app = [] if self._app is None else ["--app", self._app]
        demo = ["--demo"] if self._demo else []
        return [sys.executable, "-m", "portico", "serve", *app, *demo, "--topology", str(copy)]

    def _prepare_database(self, topology: Topology) -> None:
        if self._settings.postgres_url() is not None:
            return
        modules = {module.name: module for module in self._enabled(topology)}
        without = [
            process
            for process in topology.processes.values()
            if process.database_url is None
            and any(modules[name].owns_data for name in process.modules)
        ]
        if without:
            connections = sum(
                process.workers
                * process.replicas
                * (process.pool_size or self._settings.database_pool_size)
                for process in without
            )
            self._premises.open_database([*modules.values()], connections=connections)

    def _enabled(self, topology: Topology) -> list[Module]:
        return start_order(self._application.modules, disabled=topology.disabled)

    def _certificates(self, topology: Topology) -> Path | None:
        """The folder with everybody's; on the way from one topology to another a process has both its parts.

        For a running process reads its new certificate at once, and goes on calling for the modules that
        it is about to lose.
        """
        before = self._topology.processes
        both = {
            name: dataclasses.replace(
                process,
                modules=tuple(
                    dict.fromkeys(
                        [*process.modules, *(before[name].modules if name in before else ())]
                    )
                ),
            )
            for name, process in topology.processes.items()
        }
        return self._issue(dataclasses.replace(topology, processes=both))

    def _issue(self, topology: Topology) -> Path | None:
        if not self._mtls:
            return None
        from portico.security.authority import issue_all

        folder = (self._settings.data_folder / "certificates").absolute()
        for line in issue_all(topology, folder, clock=SystemClock()):
            _log.info("a certificate was issued", what=line)
        return folder
