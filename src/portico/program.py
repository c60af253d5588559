"""A running application: what is started, in which order, and how it stops."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from portico.assembly import Assembled, assemble
from portico.channels import Channels
from portico.clock import Clock, SystemClock
from portico.front import Front
from portico.ids import Ids
from portico.placement import KERNEL, Placement
from portico.rpc.contract import described
from portico.rpc.disabled import add_disabled
from portico.rpc.policy import Policy
from portico.rpc.registry import Registry
from portico.telemetry import logs
from portico.telemetry.export import open_tracer
from portico.telemetry.merging import SharedMetrics
from portico.telemetry.metrics import Metrics

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import grpc

    from portico.app import Application
    from portico.context import Identity
    from portico.delivery import Deliveries
    from portico.events import Relay
    from portico.hops import HopServer, Neighbours
    from portico.module import Module
    from portico.rpc.interfaces import Handler
    from portico.settings import Settings
    from portico.storage import Storage

_log = logs.logger("portico.program")


class Program:
    """One process of an application: all of it, or the part that a topology gives it.

    ``start`` takes the ports first, so that a taken one is told before anything else happens; then
    the database, the migrations, the modules, the demonstration, the relay; it serves last. ``stop``
    goes the other way: no new calls, running ones finish, the database ends.
    """

    def __init__(
        self,
        application: Application,
        settings: Settings,
        *,
        clock: Clock | None = None,
        serve: bool = True,
    ) -> None:
        """Nothing happens yet. Without ``serve`` no port is opened: a worker, or a test.

        Raises TopologyError, SettingsError or ModuleError when there is no such process.
        """
        self.application = application
        self.placement = Placement.chosen(application, settings)
        self.settings = _of_process(settings, self.placement)
        self.metrics = Metrics()
        self.registry = Registry()
        self.storage: Storage | None = None
        self.relay: Relay | None = None
        self.clock = clock or SystemClock()
        self._ids = Ids(clock=self.clock)
        self._modules = self.placement.here
        self._neighbours: Neighbours | None = None
        self._front: Front | None = None
        self._hop_server: HopServer | None = None
        if self.placement.topology.is_split:
            self._neighbours = _neighbours(self)
            if serve and self._modules:
                self._hop_server = self._neighbours.server()
        if serve:
            self._front = Front(self.settings, public=self.placement.process.front)
        self.policy = self._make_policy()
        self._stopping = ExitStack()

    @property
    def grpc_address(self) -> str:
        """Where gRPC is served, ``host:port``; empty when nothing is."""
        return "" if self._front is None else self._front.grpc_address

    @property
    def http_address(self) -> str:
        """Where REST is served, ``http://host:port``; empty when nothing is."""
        return "" if self._front is None else self._front.http_address

    def channel(self, caller: str = "") -> grpc.Channel:
        """A channel to the application's servicers, wherever they are.

        For module ``caller`` or, if empty, for the world outside.
        """
        return self._channels.of(caller)

    def start(self, *, deliver: bool = True) -> None:
        """Start everything; when something fails, stop what had started and raise.

        Without ``deliver`` events wait in the outboxes until ``relay.settle`` is called.
        """
        with ExitStack() as stack:
            self._start(stack, deliver=deliver)
            self._stopping = stack.pop_all()

    def migrate(self) -> list[str]:
        """Bring the schemas of a database that somebody else runs up to date; a line for each change."""
        from portico.storage import migrate

        return migrate(self.settings, self._modules, self.application.migrations)

    def linger(self, hurry: threading.Event) -> None:
        """Leave new connections to those who share the ports, before ``stop``.

        Goes on serving the others for ``linger_seconds``, in which they move elsewhere, or until ``hurry``.
        """
        seconds = self.settings.supervised.linger_seconds
        if seconds and self._front is not None:
            self._front.leave()
            hurry.wait(seconds)

    def stop(self) -> None:
        """Finish running calls within ``drain_seconds``, then stop everything. Twice does nothing."""
        self._stopping.close()

    def _start(self, stack: ExitStack, *, deliver: bool) -> None:
        self._trace(stack)
        self._take_ports(stack)
        if any(module.owns_data for module in self._modules):
            from portico.storage import (
                Storage,  # an application without data needs no database driver
            )

            self.storage = Storage(
                self.settings,
                clock=self.clock,
                ids=self._ids,
                is_local=self.placement.is_here,
                demands=self.placement.demands(self.settings),
                tracer=self.policy.tracer,
            )
            self.storage.open(self._modules, self.application.migrations)
            stack.callback(self.storage.close)
        for module in self.placement.disabled:
            add_disabled(self.registry, module.name, module.provides)
        assembled = [self._assemble(module) for module in self._modules]
        self._demonstrate(assembled)
        for each in assembled:
            if each.advice is not None:
                each.advice.give()
        if self.storage is not None:
            self._deliver(self.storage, assembled, stack if deliver else None)
        self._open(stack)

    def _trace(self, stack: ExitStack) -> None:
        """Make spans from now on, if the settings say where to."""
        tracer = open_tracer(
            application=self.application.name,
            process=self.placement.process.name,
            otlp_endpoint=self.settings.otlp_endpoint,
            file=self.settings.trace_file,
            ratio=self.settings.trace_ratio,
        )
        if tracer is not None:
            stack.callback(tracer.close)
            self.policy = replace(self.policy, tracer=tracer)

    def _take_ports(self, stack: ExitStack) -> None:
        if self._neighbours is not None:
            stack.callback(self._neighbours.close)
        if self._hop_server is not None:
            self._hop_server.take_port()
            stack.callback(self._hop_server.close)
        if self._front is not None:
            self._front.take_ports()
            stack.callback(self._front.close)

    def _open(self, stack: ExitStack) -> None:
        """Serve, the other processes first; both end before the relay and the database do."""
        if self._hop_server is not None:
            self._hop_server.open(
                self.registry,
                self.policy,
                callers=self.placement.callers(),
                metrics=self.metrics,
            )
            stack.callback(self._hop_server.close)
        if self._front is not None:
            self._front.open(
                self.registry,
                self.policy,
                channel=self.channel(),
                services=described(self.placement.services),
                forwarded=self._forwarded(),
                metrics=self.metrics,
                scrape=self._scrape(stack),
                not_ready=self._not_ready,
            )
            stack.callback(self._front.close)

    def _forwarded(self) -> dict[str, dict[str, Handler]]:
        """What clients may call here and other processes serve, alone or together with this one."""
        found = self._channels.forwarded()
        if self._neighbours is None or not self.placement.process.front:
            return found
        from portico.oversight import runs_everywhere

        return found | runs_everywhere(
            self.placement, self._neighbours, self.policy, here=self.channel()
        )

    def _scrape(self, stack: ExitStack) -> Callable[[], tuple[bytes, str]]:
        """What answers a scrape: this program, or all workers that share its ports."""
        folder = self.settings.supervised.metrics_folder
        if folder is None:
            return self.metrics.render
        shared = SharedMetrics(self.metrics, folder)
        shared.start()
        stack.callback(shared.stop)
        return shared.render

    def _not_ready(self) -> list[str]:
        return ["database"] if self.storage is not None and not self.storage.ready() else []

    def greeting(self) -> str:
        """What to print when it serves: the addresses and, with the demonstration, how to try it."""
        if not self.placement.process.front:
            return f"{self.placement.process.name} is ready"
        lines = [
            f"{self.application.name} is ready",
            f"  gRPC  {self.grpc_address}",
            f"  REST  {self.http_address}",
        ]
        if self.settings.demo and self.application.welcome:
            lines += [
                "",
                self.application.welcome.format(rest=self.http_address, grpc=self.grpc_address),
            ]
        return "\n".join(lines)

    def _deliver(
        self, storage: Storage, assembled: list[Assembled], stack: ExitStack | None
    ) -> None:
        deliveries = self._deliveries()
        relay = self.relay = storage.relay(
            assembled, elsewhere=None if deliveries is None else deliveries.elsewhere()
        )
        self._serve_runs(storage)
        recovery = storage.recovery()
        storage.measure(relay, recovery, self.metrics)
        if deliveries is not None:
            deliveries.take(relay, self.registry)
        if stack is not None:
            if deliveries is not None:
                stack.callback(deliveries.close)
            relay.start()
            stack.callback(relay.stop)
            if deliveries is not None:
                deliveries.start()
                stack.callback(deliveries.stop)
            recovery.start()
            stack.callback(recovery.stop)

    def _serve_runs(self, storage: Storage) -> None:
        """Let whoever may do so look after the workflows of this process: at a front, beside all others."""
        from portico.v1.workflow_service_pb2_grpc import add_WorkflowServiceServicer_to_server
        from portico.workflow.servicer import WorkflowServicer

        if storage.has_workflows:
            registrar: Any = self.registry.registrar(KERNEL)
            add_WorkflowServiceServicer_to_server(WorkflowServicer(storage.runs()), registrar)

    def _deliveries(self) -> Deliveries | None:
        """The ways of events from and to other processes; None where there are none."""
        if self._neighbours is None:
            return None
        from portico.delivery import Deliveries  # which needs the database's driver

        return Deliveries(
            self.placement,
            self._neighbours,
            self.settings,
            application=self.application.name,
            clock=self.clock,
        )

    def _assemble(self, module: Module) -> Assembled:
        provided: dict[type, Any] = {Clock: self.clock, Ids: self._ids, Metrics: self.metrics}
        if module.settings is not None:
            provided[module.settings] = self.settings.section(module.name)
        if module.owns_data and self.storage is not None:
            provided |= self.storage.provided(module)
        return assemble(module, self.registry, self.channel(module.name), provided)

    def _demonstrate(self, assembled: list[Assembled]) -> None:
        if not self.settings.demo:
            return
        for each in assembled:
            if each.demonstration is not None:
                each.demonstration.load()

    def _make_policy(self) -> Policy:
        return Policy(
            authenticate=self._authenticate if self.application.authenticator else None,
            default_access=self.application.default_access,
            default_timeout_seconds=self.settings.default_timeout_seconds,
            commands_need_workflow=self.placement.commands_need_workflow,
            observers=self.metrics,
            follow=self._follow,
            log_calls=self.settings.log_level in ("debug", "info"),
        )

    def _follow(self, request_id: str) -> AbstractContextManager[Callable[[float], bool]]:
        if self.storage is None or self.relay is None or not self.relay.is_running:
            return nullcontext(lambda _: True)
        return self.storage.follow(request_id)

    def _authenticate(self, authorization: str) -> Identity:
        return self._authenticator(authorization)

    @cached_property
    def _channels(self) -> Channels:
        """Made at the first use: by then the policy is whole."""
        return Channels(self.placement, self.registry, self.policy, neighbours=self._neighbours)

    @cached_property
    def _authenticator(self) -> Callable[[str], Identity]:
        """Made at its first use: it may need the application's own services."""
        make = self.application.authenticator
        if make is None:
            raise RuntimeError(f"{self.application.name} has no authenticator")
        return make(self.channel(), self.settings, self.clock)


def _neighbours(program: Program) -> Neighbours:
    from portico.hops import Neighbours  # one process alone needs nothing of it

    return Neighbours(
        program.settings, program.placement, clock=program.clock, metrics=program.metrics
    )


def _of_process(settings: Settings, placement: Placement) -> Settings:
    """The settings with what the topology says instead, for this process."""
    process = placement.process
    own = {
        "grpc_threads": process.threads,
        "database_pool_size": process.pool_size,
        "database_url": None if process.database_url is None else SecretStr(process.database_url),
    }
    return settings.model_copy(
        update={key: value for key, value in own.items() if value is not None}
    )
