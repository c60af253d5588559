"""A Postgres that can crash, with databases that are furnished as a shop."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Self

import psycopg

from portico.data import EmbeddedPostgres
from portico.testing.servers import Databases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy import URL

_PATIENCE_SECONDS = 60.0

# Stock for any number of cases.
_RESTOCK = """
WITH more AS (
    INSERT INTO inventory.movements (product_id, kind, on_hand, reserved, moved_at)
    SELECT product_id, 'ADJUSTED', 1000000, 0, now() FROM inventory.levels RETURNING product_id
)
UPDATE inventory.levels SET on_hand = on_hand + 1000000 WHERE product_id IN (SELECT product_id FROM more)
"""


class Server:
    """A Postgres that commits for good, as far as a crash of its own goes. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._postgres = EmbeddedPostgres(folder / "postgres", fsync=False, shared_buffers="64MB")
        self._databases: Databases | None = None
        self._template = ""

    def __enter__(self) -> Self:
        logging.getLogger("portico.data.postgres").disabled = True  # that it ends is no news here
        self._postgres.start()
        self._databases = Databases(self._postgres.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._postgres.stop()

    @property
    def url(self) -> URL:
        """Of its own database, in which there is nothing."""
        return self._postgres.url

    def crash(self) -> None:
        """Stop at once, as if the power had gone, and start again."""
        os.kill(self._postgres.pid, signal.SIGQUIT)
        self._postgres.stop()
        self._postgres.start()

    def database(self, furnish: Callable[[URL], None]) -> URL:
        """A new database with what ``furnish`` has once put into another one, and stock for any number of orders."""
        assert self._databases is not None
        if not self._template:
            url = self._databases.new()
            furnish(url)
            with connected(url) as outside:
                outside.execute(_RESTOCK)
            self._template = str(url.database)
        url = self._databases.new(template=self._template)
        with connected(url) as outside:
            # What this server does not promise by itself: that a commit outlives it. A template hands on no settings.
            outside.execute(f'ALTER DATABASE "{url.database}" SET synchronous_commit = on')
        return url


def connected(url: URL) -> psycopg.Connection[Any]:
    """A connection from outside; tries again while the server starts."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return psycopg.connect(address(url), autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def address(url: URL) -> str:
    """As libpq and the settings have it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
