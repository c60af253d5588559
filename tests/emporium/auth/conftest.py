from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from emporium.auth.module import module as auth
from emporium.auth.settings import AuthSettings
from emporium.users.module import module as users
from portico.app import Application
from portico.clock import ManualClock
from portico.data import Database, Engine
from portico.testing.harness import Harness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

    from portico.testing.servers import Databases

MIGRATIONS = Path(__file__).parents[3] / "migrations"


@pytest.fixture(scope="session")
def cheap() -> AuthSettings:
    """Hashes that cost nothing; everything else as it comes."""
    return AuthSettings(
        argon2_passes=1, argon2_memory_kib=8, argon2_lanes=1, lockout_failures=3, lockout_seconds=60
    )


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[URL]:
    """A database with the schemas of users and auth."""
    url = databases.migrated(["users", "auth"], folder=MIGRATIONS)
    yield url
    databases.drop(url)


@pytest.fixture(scope="module")
def database(url: URL) -> Iterator[Database]:
    engine = Engine(url)
    yield Database(engine, schema="auth")
    engine.close()


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def harness(url: URL, clock: ManualClock, cheap: AuthSettings) -> Iterator[Harness]:
    application = Application(name="sign-in", modules=[auth, users], migrations=MIGRATIONS)
    chosen = {
        "database_url": SecretStr(url.render_as_string(hide_password=False)),
        "auth": cheap,
        "log_level": "debug",
    }
    settings = application.settings_class().model_validate(chosen)
    with Harness(application, settings, clock=clock) as harness:
        yield harness
