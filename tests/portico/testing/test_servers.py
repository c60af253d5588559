from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from sqlalchemy import NullPool, create_engine, inspect

from portico.data import migrations
from portico.data.redis_server import RedisServer, redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import URL

    from portico.testing.servers import Databases


def schemas(url: URL) -> set[str]:
    return set(inspect(create_engine(url, poolclass=NullPool)).get_schema_names())


def test_a_redis_is_there(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_a_new_redis_is_empty(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0


def test_every_new_database_is_a_different_and_empty_one(databases: Databases) -> None:
    first, second = databases.new(), databases.new()
    assert first != second
    assert schemas(first) == schemas(second) == {"information_schema", "public"}
    databases.drop(first)
    databases.drop(second)


def test_a_migrated_database_is_a_copy_of_one_that_was_migrated_once(
    databases: Databases, tmp_path: Path
) -> None:
    file = migrations.new("alpha", "First", folder=tmp_path)
    first = databases.migrated(["alpha"], folder=tmp_path)
    file.write_text("nobody reads this again")
    second = databases.migrated(["alpha"], folder=tmp_path)
    assert first != second
    assert "alpha" in schemas(first) & schemas(second)
    databases.drop(first)
    databases.drop(second)


def test_a_redis_that_was_killed_is_back_at_its_place_and_empty(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "no")
            server.kill()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            server.start()
            assert client.dbsize() == 0
    finally:
        server.stop()
        server.stop()
        server.kill()
