"""Recovery: takes up the runs that nobody works on, until each is done or undone."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from portico.context import entered, root
from portico.workflow.run import Status
from portico.workflow.settings import WorkflowSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from portico.workflow.log import Version
    from portico.workflow.run import Run
    from portico.workflow.workflows import Workflows

_log = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 60.0
_MOST_PURGED = 500
"""In one transaction: the rest is for the next one."""


class Recovery:
    """Works on the runs of some modules, in threads of its own. Any number may, here and elsewhere.

    A run of a version that is not defined here is left alone: told in the log, and counted.
    """

    def __init__(
        self, workflows: Iterable[Workflows], *, settings: WorkflowSettings | None = None
    ) -> None:
        """``workflows`` are those of the modules of this process. Nothing runs before :meth:`start`."""
        self._workflows = [each for each in workflows if each.plans]
        self._settings = settings or WorkflowSettings()
        self._stopping = threading.Event()
        self._bell = threading.Event()
        for each in self._workflows:
            each.ring_at_signals(self._bell)
        self._threads: list[threading.Thread] = []
        self._housekeeping = threading.Lock()
        self._kept_house_at = 0.0
        self._orphans: dict[Version, int] = {}
        self.finished = 0
        """Runs that were brought to their end, since the start."""
        self.undone = 0
        """Runs that were taken back."""
        self.dead = 0
        """Runs that were given up."""

    @property
    def orphans(self) -> int:
        """Runs of versions that are not defined here, when it last looked."""
        return sum(self._orphans.values())

    def start(self) -> None:
        """Work until :meth:`stop`. Modules whose workflow log was never made are passed over."""
        self._workflows = [each for each in self._workflows if _has_log(each)]
        if not self._workflows:
            return
        self._stopping = threading.Event()  # a thread that was left behind keeps the one before
        self._threads = [
            threading.Thread(target=self._run, name=f"portico-recovery-{number}", daemon=True)
            for number in range(self._settings.threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, *, timeout_seconds: float = 5.0) -> None:
        """Finish the runs at hand and stop; what is left is for others, or for the next start.

        A run that takes longer is abandoned, as if the process had ended: its lease runs out.
        """
        self._stopping.set()
        self._bell.set()
        until = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        if any(thread.is_alive() for thread in self._threads):
            _log.warning("recovery leaves a run half way: another process takes it up")
        self._threads = []

    def settle(self, *, timeout_seconds: float = 10.0) -> int:
        """Work on every run that is due, in this thread; answers how many. For tests and command lines.

        A run whose lease or delay has not ended is not due. TimeoutError when it takes longer.
        """
        until = time.monotonic() + timeout_seconds
        count = 0
        while self._take_up_some():
            count += 1
            if time.monotonic() > until:
                raise TimeoutError(f"there are still runs to take up after {timeout_seconds:g} s")
        return count

    def keep_house(self) -> None:
        """Forget runs that ended long ago, and look for those of versions that are gone."""
        found: dict[Version, int] = {}
        for each in self._workflows:
            desk = each.desk
            before = desk.clock.now() - timedelta(seconds=self._settings.keep_seconds)
            while _purged(each, before) == _MOST_PURGED and not self._stopping.is_set():
                pass
            with entered(root()), desk.database.reading() as session:
                found |= desk.log.orphans(session, known=list(each.plans))
        for version, count in found.items() - self._orphans.items():
            _log.error("%d runs of %s version %d wait for a process that knows it", count, *version)
        self._orphans = found

    def _run(self) -> None:
        # Where nothing leaves the process there can only be runs from before a move.
        apart = any(
            plan.strategy == "apart" for each in self._workflows for plan in each.plans.values()
        )
        poll = self._settings.poll_seconds if apart else self._settings.idle_poll_seconds
        stopping = self._stopping
        while not stopping.is_set():
            try:
                while self._take_up_some() and not stopping.is_set():
                    pass
                self._keep_house_now_and_then()
            except Exception:  # noqa: BLE001  # whatever it is: say so and go on
                _log.exception("recovery could not work; it tries again")
            if self._bell.wait(poll):
                self._bell.clear()
                if stopping.is_set():  # the other threads shall hear it too
                    self._bell.set()

    def _take_up_some(self) -> bool:
        """One run of each module; whether there was any."""
        return sum(self._took_up(each) for each in self._workflows) > 0

    def _took_up(self, workflows: Workflows) -> bool:
        with entered(root()):
            run = workflows.take_up()
        if run is not None:
            self._count(run)
        return run is not None

    def _count(self, run: Run) -> None:
        self.finished += run.status is Status.DONE
        self.undone += run.status is Status.UNDONE
        self.dead += run.status is Status.DEAD

    def _keep_house_now_and_then(self) -> None:
        now = time.monotonic()
        with self._housekeeping:
            if now - self._kept_house_at < _HOUSEKEEPING_SECONDS and self._kept_house_at:
                return
            self._kept_house_at = now
        self.keep_house()


def _purged(workflows: Workflows, before: datetime) -> int:
    desk = workflows.desk
    with entered(root()), desk.database.unit_of_work() as session:
        return desk.log.purge(session, before=before, most=_MOST_PURGED)


def _has_log(workflows: Workflows) -> bool:
    desk, plans = workflows.desk, workflows.plans.values()
    with entered(root()), desk.database.reading() as session:
        has_runs, has_waits = desk.log.is_there(session), desk.waits.is_there(session)
    if not has_runs and any(plan.strategy == "apart" for plan in plans):
        _log.error("module %s has no workflow log: its migrations do not make it", desk.module)
    if not has_waits and any(plan.waits for plan in plans):
        _log.error("module %s has no table of waits: its migrations do not make it", desk.module)
    return has_runs
