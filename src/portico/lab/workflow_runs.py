"""The process that runs the workflow which ``portico.lab.workflow`` measures, in each of its ways."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from portico.clock import SystemClock
from portico.context import StepMark, entered, root
from portico.ids import Ids
from portico.lab.subject import USER
from portico.lab.travel.running import running, workflows_of
from portico.lab.travel.trips import BOOK_TRIP, NAME, VERSION, Booking
from portico.workflow.attempts import call_out
from portico.workflow.step import marked

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.workflow import Step, Workflows


class Runs:
    """The ways to book a trip, one run at a time."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows
        self._plan = workflows.plans[BOOK_TRIP, VERSION]
        self._ids = Ids(clock=SystemClock())
        self._ways: dict[str, Callable[[Booking], object]] = {
            "together": self._run,
            "apart": self._run,
            "noting": self._run,
            "unlogged": partial(self._by_hand, own=True),
            "calls": partial(self._by_hand, own=False),
        }

    def run(self, way: str, count: int) -> dict[str, Any]:
        """So many runs: how long each took, and the processor time of this process."""
        cpu = time.process_time()
        seconds = [self._timed(way) for _ in range(count)]
        return {"seconds": seconds, "cpu_seconds": time.process_time() - cpu}

    def _timed(self, way: str) -> float:
        state = Booking(self._ids.new("trip"), keep_codes=way == "noting")
        began = time.perf_counter()
        with entered(root(module=NAME, identity=USER)):
            self._ways[way](state)
        return time.perf_counter() - began

    def _run(self, state: Booking) -> None:
        self._workflows.run(self._plan.workflow, state, key=state.trip_id)

    def _by_hand(self, state: Booking, *, own: bool) -> None:
        """What the saga does without its log; without its ``own`` steps, if these are not wanted."""
        run_id = self._ids.uuid()
        for step, is_remote in zip(self._plan.steps, self._plan.is_remote, strict=True):
            mark = StepMark(NAME, f"{run_id}/{step.name}")
            if is_remote:
                action = partial(step.action, state)
                call_out(self._workflows.desk, f"{BOOK_TRIP}.{step.name}", mark, action)
            elif own:
                self._own(step, mark, state)

    def _own(self, step: Step[Booking], mark: StepMark, state: Booking) -> None:
        with (
            self._workflows.desk.database.unit_of_work(),
            marked(mark, f"{BOOK_TRIP}.{step.name}"),
        ):
            step.action(state)


def serve(topology: str) -> None:
    """The child: say that it is ready, make runs when asked, end with its stdin."""
    process = NAME if topology else ""
    with running(topology=topology, process=process) as program:
        runs = Runs(workflows_of(program, NAME))
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            way, count = line.split()
            print(json.dumps(runs.run(way, int(count))), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1] if len(sys.argv) > 1 else "")
