"""Handing events on: from an outbox to where the lanes to other processes find them."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from portico.context import entered, root
from portico.events.onward import Onward

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from portico.data import Database
    from portico.events.doorbell import Bell
    from portico.events.elsewhere import Elsewhere
    from portico.events.following import Following
    from portico.events.outbox import Record

_log = logging.getLogger(__name__)


class HandingOn:
    """Knows which events go elsewhere, writes that down, and wakes the lanes that take them there."""

    def __init__(
        self,
        databases: Iterable[Database],
        elsewhere: Elsewhere,
        *,
        following: Following,
        bells: Mapping[str, Bell],
    ) -> None:
        """``bells`` are those of the lanes, by process."""
        self._databases = {database.schema: database for database in databases}
        self._onward = {schema: Onward(schema, elsewhere.modules) for schema in self._databases}
        self._elsewhere = elsewhere
        self._following = following
        self._bells = bells

    def hand_on(self, records: Sequence[Record]) -> None:
        """Have all events that are for modules in other processes delivered there; does not wait for it."""
        wanted: dict[str, list[tuple[Record, str]]] = defaultdict(list)
        for record in records:
            for module in self._elsewhere.modules_for(record.type):
                wanted[record.aggregate_type].append((record, module))
        for schema, pairs in wanted.items():
            self._write(schema, pairs)
            for bell in self._bells.values():
                bell.ring(schema)

    def take_back(self) -> None:
        """Return to the outboxes what was handed on for modules that are in no other process now.

        A topology has changed: whoever reacts to these events gets them as if they were new.
        """
        for schema, onward in self._onward.items():
            database = self._databases[schema]
            with entered(root()), database.reading() as session:
                has_strays = onward.has_strays(session)
            if has_strays:
                with entered(root()), database.unit_of_work() as session:
                    onward.take_back(session)
                _log.info("events of %s come back: their modules are in no other process", schema)

    def _write(self, schema: str, pairs: Sequence[tuple[Record, str]]) -> None:
        requests: dict[UUID, str] = {record.id: record.headers["request_id"] for record, _ in pairs}
        with entered(root()), self._databases[schema].unit_of_work() as session:
            # Should a crash undo it after all, the claim that it belongs to is undone as well.
            session.exec_driver_sql("SET LOCAL synchronous_commit = off")
            for event_id, module in self._onward[schema].hand_on(session, pairs):
                self._following.handed_on(requests[event_id], event_id, module)
