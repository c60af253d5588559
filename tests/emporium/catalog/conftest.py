from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commerce.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from pydantic import SecretStr

from emporium.catalog.module import module
from portico.app import Application
from portico.clock import ManualClock
from portico.data import Database, Engine
from portico.settings import Settings
from portico.testing.harness import TRANSPORTS, Harness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL

    from portico.testing.servers import Databases

MIGRATIONS = Path(__file__).parents[3] / "migrations"


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[URL]:
    """A database with the schema of catalog."""
    url = databases.migrated(["catalog"], folder=MIGRATIONS)
    yield url
    databases.drop(url)


@pytest.fixture(scope="module")
def database(url: URL) -> Iterator[Database]:
    engine = Engine(url)
    yield Database(engine, schema="catalog")
    engine.close()


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def harness(url: URL, clock: ManualClock) -> Iterator[Harness]:
    application = Application(name="catalog-alone", modules=[module], migrations=MIGRATIONS)
    settings = Settings(database_url=SecretStr(url.render_as_string(hide_password=False)))
    with Harness(application, settings, clock=clock) as started:
        yield started


@pytest.fixture(params=TRANSPORTS)
def catalog(harness: Harness, request: pytest.FixtureRequest) -> CatalogServiceStub:
    """The module over each transport in turn, as orders calls it for an administrator."""
    return harness.stub(
        CatalogServiceStub, request.param, user="usr_admin", roles=["admin"], caller="orders"
    )
