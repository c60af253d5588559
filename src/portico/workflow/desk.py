"""What everybody who works on the runs of one module needs."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from portico.context import Call, entered
from portico.events.publisher import origin_of
from portico.workflow.log import Lease, Log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from portico.clock import Clock
    from portico.data import Database
    from portico.ids import Ids
    from portico.workflow.run import Run
    from portico.workflow.settings import WorkflowSettings
    from portico.workflow.waits import Waits


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The log of a module, its database and its clock."""

    module: str
    database: Database
    log: Log
    waits: Waits
    clock: Clock
    ids: Ids
    settings: WorkflowSettings
    random: Random = field(default_factory=Random)

    def new_owner(self) -> str:
        """A name for one piece of work on one run: never the same twice, not even in one thread."""
        return f"{socket.gethostname()}/{os.getpid()}/{self.ids.uuid()}"

    def lease(self, owner: str, now: datetime) -> Lease:
        """The right to work on a run from now on."""
        return Lease(owner, now + timedelta(seconds=self.settings.lease_seconds))

    @contextmanager
    def apart_from_caller(self, run: Run, *, seconds: float) -> Iterator[None]:
        """A block for the run's own user, with so much time, whatever has become of the caller."""
        deadline = time.monotonic() + seconds
        call = Call(None, origin_of(run.headers), run.name, self.module, "", deadline, ())
        with entered(call):
            yield

    def find(self, run_id: UUID) -> Run | None:
        """The run as it is at the moment."""
        with self.database.reading() as session:
            return self.log.find(session, run_id)
