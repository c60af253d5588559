"""The connector in the documentation, held against the tables as the migrations make them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import NullPool, create_engine

from emporium.app import application

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from portico.testing.servers import Databases

DOCUMENT = Path(__file__).parents[3] / "docs" / "events.md"


def _block(language: str, word: str) -> str:
    blocks = re.findall(
        rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL
    )
    (found,) = (each for each in blocks if word in each)
    return str(found)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_block("json", "EventRouter"))["config"]
    return found


@pytest.fixture
def database(databases: Databases) -> Iterator[Connection]:
    owners = [module.name for module in application.modules if module.owns_data]
    url = databases.migrated(owners, folder=application.migrations)
    with create_engine(url, poolclass=NullPool).connect() as session:
        yield session
        session.rollback()


def test_the_columns_that_the_router_reads_are_there(
    database: Connection, config: dict[str, Any]
) -> None:
    prefix = "transforms.outbox."
    named = {
        value for key, value in config.items() if key.startswith(f"{prefix}table.field.event.")
    }
    named |= {
        each.partition(":")[0]
        for each in config[f"{prefix}table.fields.additional.placement"].split(",")
    }
    named.add(config[f"{prefix}route.by.field"])
    for table in config["table.include.list"].split(","):
        schema, _, name = table.partition(".")
        found = database.exec_driver_sql(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = %(schema)s AND table_name = %(name)s",
            {"schema": schema, "name": name},
        )
        columns = {row[0]: row[1] for row in found}
        assert named <= columns.keys()
        assert columns["payload"] == "bytea"  # what the converter takes


@pytest.mark.filterwarnings("ignore:wal_level")
def test_the_publication_has_the_connectors_tables_and_what_is_inserted_alone(
    database: Connection, config: dict[str, Any]
) -> None:
    database.exec_driver_sql(_block("sql", "PUBLICATION"))
    name = {"name": config["publication.name"]}
    tables = database.exec_driver_sql(
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %(name)s",
        name,
    ).scalars()
    assert set(tables) == set(config["table.include.list"].split(","))
    told = database.exec_driver_sql(
        "SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname = %(name)s",
        name,
    ).one()
    assert tuple(told) == (True, False, False, False)
