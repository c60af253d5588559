"""The database of a program and the delivery of its events."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import ArgumentError

from portico.data import Database, EmbeddedPostgres, Engine, migrations
from portico.data.engine import driver_url
from portico.demand import Demand, refuse_excess
from portico.errors import StatusError
from portico.events import (
    Doorbell,
    Events,
    Intercom,
    Relay,
    RelaySettings,
    reactions_of,
)
from portico.settings import SettingsError
from portico.telemetry import logs
from portico.workflow import Recovery, Runs, Workflows, WorkflowSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import URL

    from portico.assembly import Assembled
    from portico.clock import Clock
    from portico.events import Elsewhere
    from portico.ids import Ids
    from portico.module import Module
    from portico.settings import Settings
    from portico.telemetry.metrics import Metrics
    from portico.telemetry.otel.tracer import Tracer

_log = logs.logger("portico.storage")

_POOL_PER_REACTION = 5
_DAY_SECONDS = 24 * 3600.0

# Some are kept back for superusers and, since version 16, for roles that are named.
_MOST_CONNECTIONS = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true)::int, 0)
"""


def migrate(settings: Settings, modules: Sequence[Module], folder: Path) -> list[str]:
    """Bring the schemas of ``modules`` up to date, in the embedded database if there is no other.

    Answers what was done, a line for each step. Raises ``StorageError`` and ``MigrationError``.
    """
    names = _owners(modules)
    if not names:
        return []
    with ExitStack() as stack:
        url = _given(settings) or stack.enter_context(_embedded(settings)).url
        with _told(url):
            done = migrations.upgrade(url, names, folder=folder)
    return [f"{step.module} {step.file.stem}" for step in done]


class StorageError(RuntimeError):
    """The database cannot be used; the message names it and says why."""


class Storage:
    """What the modules that own data share: one engine, a schema each, one relay.

    Without a database address in the settings a Postgres of its own is started in the data folder,
    and its schemas are brought up to date; a database that somebody runs is migrated by
    ``portico migrate``, or here when the demonstration is asked for.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        ids: Ids,
        is_local: Callable[[type], bool] = lambda _: True,
        demands: Sequence[Demand] = (),
        tracer: Tracer | None = None,
    ) -> None:
        """``is_local`` tells of a generated stub class whether its module is in this process.

        ``demands`` are the connections that all processes on the same database may open.
        """
        self._settings = settings
        self._is_local = is_local
        self._demands = demands
        self._tracer = tracer
        self._clock = clock
        self._ids = ids
        self._doorbell = Doorbell()
        self._stack = ExitStack()
        self._databases: dict[str, Database] = {}
        self._workflows: dict[str, Workflows] = {}
        self._workflow_settings = WorkflowSettings(
            threads=settings.workflow_threads, lease_seconds=settings.workflow_lease_seconds
        )

    def open(self, modules: Sequence[Module], migrations_folder: Path) -> None:
        """Start or find the database and make sure that its schemas are the ones the code expects.

        Raises ``MigrationError`` when they are not and nobody asked for them to be changed here,
        ``StorageError`` when the database cannot be used.
        """
        names = _owners(modules)
        with ExitStack() as stack:
            given = _given(self._settings)
            url = given or stack.enter_context(_embedded(self._settings)).url
            with _told(url):
                if given is None or self._settings.demo:
                    migrations.upgrade(url, names, folder=migrations_folder)
                else:
                    migrations.refuse_pending(url, names, folder=migrations_folder)
            self._engine = Engine(
                url,
                pool_size=self._settings.database_pool_size,
                pool_timeout_seconds=self._settings.database_pool_timeout_seconds,
                application_name=f"portico {self._settings.process}".rstrip(),
                guard=self._settings.guard,
            )
            stack.callback(self._engine.close)
            if self._tracer is not None:
                self._engine.trace()
            self._databases = {name: Database(self._engine, schema=name) for name in names}
            self._doorbell.intercom = Intercom(self._engine, bell=self._doorbell, schemas=names)
            refuse_excess(self._demands, self._most_connections(), database=_shown(url))
            self._stack = stack.pop_all()

    def _most_connections(self) -> int:
        with next(iter(self._databases.values())).reading() as session:
            return int(session.exec_driver_sql(_MOST_CONNECTIONS).scalar_one())

    def close(self) -> None:
        """Close the connections and stop the database if it is ours."""
        self._stack.close()

    def provided(self, module: Module) -> dict[type, object]:
        """What the constructors of ``module`` may ask for, by type."""
        database = self._databases[module.name]
        return {
            Database: database,
            Events: Events(database, clock=self._clock, ids=self._ids, doorbell=self._doorbell),
            Workflows: self._workflows_of(module.name, database),
        }

    def workflows(self, module: str) -> Workflows | None:
        """The workflows of a module, once it was put together."""
        return self._workflows.get(module)

    @property
    def has_workflows(self) -> bool:
        """Whether any module has defined one."""
        return any(each.plans for each in self._workflows.values())

    def recovery(self) -> Recovery:
        """What takes up workflow runs that nobody works on; not started. To be made after the modules."""
        return Recovery(self._workflows.values(), settings=self._workflow_settings)

    def runs(self) -> Runs:
        """The runs of all modules, for whoever looks after them. To be made after the modules."""
        return Runs(self._workflows.values())

    def _workflows_of(self, module: str, database: Database) -> Workflows:
        if module not in self._workflows:
            self._workflows[module] = Workflows(
                module=module,
                database=database,
                clock=self._clock,
                is_local=self._is_local,
                settings=self._workflow_settings,
            )
        return self._workflows[module]

    def relay(self, assembled: Sequence[Assembled], *, elsewhere: Elsewhere | None = None) -> Relay:
        """The relay from every module's outbox to every reaction, here and ``elsewhere``; not started."""
        reactions = [
            reaction
            for each in assembled
            for instance in each.reactions
            for reaction in reactions_of(instance, database=self._databases[each.module.name])
        ]
        return Relay(
            self._databases.values(),
            reactions,
            clock=self._clock,
            doorbell=self._doorbell,
            elsewhere=elsewhere,
            settings=self._relay_settings(),
            tracer=self._tracer,
        )

    def _relay_settings(self) -> RelaySettings:
        settings = self._settings
        most = RelaySettings().reactions_at_once
        return RelaySettings(
            # So many that calls always find connections beside them.
            reactions_at_once=max(min(most, settings.database_pool_size // _POOL_PER_REACTION), 1),
            keep_events_seconds=settings.events_keep_days * _DAY_SECONDS,
            keep_notes_seconds=settings.inbox_keep_days * _DAY_SECONDS,
        )

    def measure(self, relay: Relay, recovery: Recovery, metrics: Metrics) -> None:
        """Publish the pool, the relay and the recovery of workflows as metrics."""
        metrics.gauge(
            "portico_database_connections_in_use",
            "Connections out of the pool.",
            lambda: self._engine.in_use,
        )
        for schema in self._databases:
            metrics.gauge(
                "portico_events_lag_seconds",
                "Age of the oldest event of an outbox that has not reached everyone.",
                partial(relay.lag_seconds, schema),
                outbox=schema,
            )
        for process, lane in relay.there.items():
            lane.measure(metrics, process=process, waiting=partial(relay.waiting_for, process))
        metrics.counter(
            "portico_events_delivered",
            "Events that reached everyone in this process.",
            lambda: relay.delivered,
        )
        metrics.counter(
            "portico_events_failed", "Deliveries that are tried again.", lambda: relay.failed
        )
        metrics.counter("portico_events_dead", "Events that were given up.", lambda: relay.dead)
        metrics.counter(
            "portico_workflows_recovered",
            "Workflow runs that recovery brought to their end.",
            lambda: recovery.finished,
        )
        metrics.counter(
            "portico_workflows_undone",
            "Workflow runs that recovery took back.",
            lambda: recovery.undone,
        )
        metrics.counter(
            "portico_workflows_dead", "Workflow runs that were given up.", lambda: recovery.dead
        )
        metrics.gauge(
            "portico_workflows_orphans",
            "Workflow runs of versions that no code here has.",
            lambda: recovery.orphans,
        )

    def follow(self, request_id: str) -> AbstractContextManager[Callable[[float], bool]]:
        """A block in which to wait for the reactions to what this request publishes."""
        return self._doorbell.following.request(request_id)

    def ready(self) -> bool:
        """Whether the database answers."""
        try:
            with next(iter(self._databases.values())).reading() as session:
                session.exec_driver_sql("SELECT 1")
        except Exception:  # noqa: BLE001  # whatever it is, the answer is no
            return False
        return True


def _given(settings: Settings) -> URL | None:
    """The database that the settings name; None asks for the embedded one."""
    address = settings.postgres_url()
    if address is None:
        return None
    try:
        url = driver_url(address)
    except (ArgumentError, ValueError) as failure:
        raise SettingsError(f"database_url is no address of a Postgres: {failure}") from failure
    _log.info("using a database that runs already", database=_shown(url))
    return url


@contextmanager
def _told(url: URL) -> Iterator[None]:
    """Say which database could not be used, and why, in Postgres' own words."""
    try:
        yield
    except StatusError as failure:
        raise StorageError(
            f"the database {_shown(url)} cannot be used: {_reason(failure)}"
        ) from failure


def _reason(failure: BaseException) -> str:
    while failure.__cause__ is not None:
        failure = failure.__cause__
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[0] if lines else type(failure).__name__


def _shown(url: URL) -> str:
    """Without the password, which a URL may also have among its parameters."""
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def _embedded(settings: Settings) -> EmbeddedPostgres:
    return EmbeddedPostgres(settings.data_folder / "postgres")


def _owners(modules: Sequence[Module]) -> list[str]:
    return [module.name for module in modules if module.owns_data]
