"""The database of a program and the delivery of its events."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from portico.data import Database, EmbeddedPostgres, Engine, migrations
from portico.events import Doorbell, Events, Relay, reactions_of
from portico.workflow import Workflows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from portico.assembly import Assembled
    from portico.clock import Clock
    from portico.ids import Ids
    from portico.module import Module
    from portico.settings import Settings
    from portico.telemetry.metrics import Metrics


def migrate(settings: Settings, modules: Sequence[Module], folder: Path) -> list[str]:
    """Bring the schemas of ``modules`` up to date, in the embedded database if there is no other.

    Answers what was done, a line for each step.
    """
    with ExitStack() as stack:
        url = settings.postgres_url() or stack.enter_context(_embedded(settings)).url
        done = migrations.upgrade(url, _owners(modules), folder=folder)
    return [f"{step.module} {step.file.stem}" for step in done]


class Storage:
    """What the modules that own data share: one engine, a schema each, one relay.

    Without a database address in the settings a Postgres of its own is started in the data folder,
    and its schemas are brought up to date; a database that somebody runs is migrated by
    ``portico migrate``, or here when the demonstration is asked for.
    """

    def __init__(self, settings: Settings, *, clock: Clock, ids: Ids) -> None:
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._doorbell = Doorbell()
        self._stack = ExitStack()
        self._databases: dict[str, Database] = {}
        self._relay: Relay | None = None

    def open(self, modules: Sequence[Module], migrations_folder: Path) -> None:
        """Start or find the database and make sure that its schemas are the ones the code expects.

        Raises ``MigrationError`` when they are not and nobody asked for them to be changed here.
        """
        names = _owners(modules)
        with ExitStack() as stack:
            given = self._settings.postgres_url()
            url = given or stack.enter_context(_embedded(self._settings)).url
            if given is None or self._settings.demo:
                migrations.upgrade(url, names, folder=migrations_folder)
            else:
                migrations.refuse_pending(url, names, folder=migrations_folder)
            self._engine = Engine(
                url,
                pool_size=self._settings.database_pool_size,
                pool_timeout_seconds=self._settings.database_pool_timeout_seconds,
                guard=self._settings.guard,
            )
            stack.callback(self._engine.close)
            self._databases = {name: Database(self._engine, schema=name) for name in names}
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close the connections and stop the database if it is ours."""
        self._stack.close()

    def provided(self, module: Module) -> dict[type, object]:
        """What the constructors of ``module`` may ask for, by type."""
        database = self._databases[module.name]
        return {
            Database: database,
            Events: Events(database, clock=self._clock, ids=self._ids, doorbell=self._doorbell),
            Workflows: Workflows(module=module.name, database=database),
        }

    def relay(self, assembled: Sequence[Assembled]) -> Relay:
        """The relay from every module's outbox to every reaction; not started."""
        reactions = [
            reaction
            for each in assembled
            for instance in each.reactions
            for reaction in reactions_of(instance, database=self._databases[each.module.name])
        ]
        return Relay(
            self._databases.values(), reactions, clock=self._clock, doorbell=self._doorbell
        )

    def measure(self, relay: Relay, metrics: Metrics) -> None:
        """Publish the pool and the relay as metrics."""
        metrics.gauge(
            "portico_database_connections_in_use",
            "Connections out of the pool.",
            lambda: self._engine.in_use,
        )
        metrics.gauge(
            "portico_events_lag_seconds", "Age of the oldest undelivered event.", relay.lag_seconds
        )
        metrics.counter(
            "portico_events_delivered", "Events that reached everyone.", lambda: relay.delivered
        )
        metrics.counter(
            "portico_events_failed", "Deliveries that are tried again.", lambda: relay.failed
        )
        metrics.counter("portico_events_dead", "Events that were given up.", lambda: relay.dead)

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


def _embedded(settings: Settings) -> EmbeddedPostgres:
    return EmbeddedPostgres(settings.data_folder / "postgres")


def _owners(modules: Sequence[Module]) -> list[str]:
    return [module.name for module in modules if module.owns_data]
