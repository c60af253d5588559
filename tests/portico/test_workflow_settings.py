"""What the settings say of workflows, in a program on a database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr, ValidationError

from emporium.app import application
from portico.check.application import findings
from portico.program import Program
from portico.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.testing.servers import Databases

    Make = Callable[..., Program]


@pytest.fixture
def program(databases: Databases) -> Make:
    """Makes one that serves nobody, with these settings."""
    owners = [module.name for module in application.modules if module.owns_data]
    url = databases.migrated(owners, folder=application.migrations)
    secret = SecretStr(url.render_as_string(hide_password=False))

    def make(**chosen: Any) -> Program:
        settings = application.settings_class()(database_url=secret, **chosen)
        return Program(application, settings, serve=False)

    return make


def recovering() -> int:
    """How many threads take up runs."""
    return sum(each.name.startswith("portico-recovery") for each in threading.enumerate())


def test_as_many_runs_are_taken_up_at_once_as_the_settings_say(program: Make) -> None:
    before, chosen = recovering(), program(workflow_threads=3)

    chosen.start()
    try:
        assert recovering() - before == 3
    finally:
        chosen.stop()
    assert recovering() == before


def test_a_run_is_its_process_own_for_as_long_as_the_settings_say(program: Make) -> None:
    chosen = program(workflow_lease_seconds=60)
    now = datetime(2026, 5, 29, tzinfo=UTC)

    chosen.start(deliver=False)
    try:
        assert chosen.storage is not None
        workflows = chosen.storage.workflows("orders")
        assert workflows is not None
        assert workflows.desk.lease("somebody", now).until == now + timedelta(seconds=60)
    finally:
        chosen.stop()


def test_recovery_leaves_connections_to_calls(program: Make) -> None:
    with pytest.raises(
        ValidationError, match=r"workflow_threads \(4\) must be fewer than .* \(4\)"
    ):
        Settings(workflow_threads=4, database_pool_size=4)
    for fitting in (
        {"workflow_threads": 3, "database_pool_size": 4},
        {"database_pool_size": 1},  # with what nobody has chosen
    ):
        chosen = program(**fitting)
        chosen.start(deliver=False)
        chosen.stop()


def test_the_check_tells_what_would_stop_the_start() -> None:
    few = {"PORTICO_WORKFLOW_THREADS": "4", "PORTICO_DATABASE_POOL_SIZE": "4"}

    (found,) = findings(application, environment=few)

    assert found.startswith("workflow_threads (4) must be fewer than database_pool_size (4)")


@pytest.mark.parametrize(
    "chosen",
    [
        {"workflow_threads": 0},
        {"workflow_threads": 65},
        {"workflow_lease_seconds": 9.9},
        {"workflow_lease_seconds": 3601},
    ],
    ids=str,
)
def test_both_have_bounds(chosen: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**chosen)
