"""``--workers``: several copies of one process on the same ports, so that it uses more than one core."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

from portico.placement import Placement
from portico.supervise.output import Output
from portico.supervise.plan import environment_of, stop_seconds, workers_of
from portico.supervise.premises import Premises
from portico.supervise.run import run as run_children
from portico.supervise.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.app import Application
    from portico.settings import Settings
    from portico.supervise.child import ChildSpec


def count(application: Application, settings: Settings, *, asked: int | None = None) -> int:
    """How many workers to run: those asked for, else what the topology says; 1 in a process that is one itself."""
    if settings.supervised.shared_ports:
        return 1
    return asked or Placement.chosen(application, settings).process.workers


def run(
    application: Application, settings: Settings, *, workers: int, command: Sequence[str]
) -> int:
    """Run so many copies of ``command`` until SIGINT or SIGTERM; the exit code.

    The command serves the process that the settings choose, as one of its workers: it is told so by its
    environment. One that ends is started again. At SIGHUP each is replaced by a fresh one, without
    a failed call. The embedded database, when that is used, belongs to the parent.

    Raises OSError when a port is taken, and what the embedded database and migrations raise.
    """
    with Premises(application, settings, probes_port=settings.http_port) as premises:
        crew = _Crew(application, settings, premises, workers=workers, command=command)
        supervisor = Supervisor(output=Output(), stop_seconds=stop_seconds(settings))
        return asyncio.run(
            run_children(
                supervisor,
                crew.plan,
                announce=lambda: crew.announce(supervisor),
                closing=premises.shut,
            )
        )


class _Crew:
    def __init__(
        self,
        application: Application,
        settings: Settings,
        premises: Premises,
        *,
        workers: int,
        command: Sequence[str],
    ) -> None:
        placement = Placement.chosen(application, settings)
        address = settings.addresses.get(placement.process.name) or placement.process.address
        self._process = dataclasses.replace(
            placement.process, workers=workers, replicas=1, address=_called_at(settings, address)
        )
        self._placement = placement
        self._settings = settings
        self._premises = premises
        self._command = command
        self._generation = 0

    def plan(self) -> Sequence[ChildSpec]:
        """The workers, each time anew."""
        self._generation += 1
        needs_data = any(module.owns_data for module in self._placement.here)
        own_database = self._process.database_url is not None
        if needs_data and not own_database and self._settings.postgres_url() is None:
            pool_size = self._process.pool_size or self._settings.database_pool_size
            self._premises.open_database(
                self._placement.here, connections=self._process.workers * pool_size
            )
        return [
            *workers_of(
                self._process,
                premises=self._premises,
                command=self._command,
                environment=environment_of(self._settings, self._premises),
                version=str(self._generation),
                is_called=self._placement.topology.is_split and bool(self._process.modules),
            )
        ]

    def announce(self, supervisor: Supervisor) -> None:
        """All are ready: greet as each of them does."""
        print(supervisor.greeting(self._process.name), flush=True)  # noqa: T201  # a greeting


def _called_at(settings: Settings, address: str) -> str:
    """The address whose port the workers listen on: what others are told, or what the settings say instead."""
    port = address.rpartition(":")[2] if settings.hop_port is None else str(settings.hop_port)
    return f"127.0.0.1:{port}" if port else ""
