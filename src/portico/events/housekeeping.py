"""Removing what nobody needs any more: events that have reached everybody, and notes about old ones."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

from portico.context import entered, root
from portico.events.ended import Ended

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.clock import Clock
    from portico.data import Database

_BATCH = 500


class Housekeeping:
    """Removes a little at a time, so that nobody waits for it. Several processes may."""

    def __init__(self, databases: Iterable[Database], *, clock: Clock) -> None:
        """``databases`` are those of the modules whose tables it keeps."""
        self._databases = list(databases)
        self._clock = clock

    def purge(
        self,
        *,
        events_after: timedelta,
        notes_after: timedelta | None,
        archive: IO[str] | None = None,
    ) -> tuple[int, int]:
        """One batch of each kind and module; how many events and notes went.

        ``events_after`` counts from when an event had reached everybody. Notes are what makes a repeat
        harmless: they must outlive the events, and stay when ``notes_after`` is None. Events go into
        ``archive`` before they are removed, as JSON, one a line; after a crash some may be in both places.
        """
        now = self._clock.now()
        events = notes = 0
        for database in self._databases:
            ended = Ended(database.schema)
            with entered(root()), database.unit_of_work() as session:
                rows = ended.purge(session, before=now - events_after, most=_BATCH)
                if archive is not None:
                    _archive(archive, rows)
            events += len(rows)
            if notes_after is None:
                continue
            with entered(root()), database.unit_of_work() as session:
                notes += ended.purge_notes(session, before=now - notes_after, most=_BATCH)
        return events, notes


def _archive(file: IO[str], rows: Iterable[Any]) -> None:
    for row in rows:
        file.write(f"{json.dumps(row._asdict(), default=_plain)}\n")
    file.flush()
    os.fsync(file.fileno())


def _plain(value: object) -> str:
    if isinstance(value, (bytes, memoryview)):
        return b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else str(value)
