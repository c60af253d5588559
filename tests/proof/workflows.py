"""The proof of the workflows: every placement, a fault at every boundary of their steps.

    python -m tests.proof.workflows [--only TEXT] [--placement NAME] [--seed NUMBER] [--plant BUG]

In real processes, which are really killed, on a real Postgres, which really crashes. After each fault come
recovery, the laws of the shop from outside in SQL, and the same request again. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import queue
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from portico.testing.tally import Tally
from portico.testing.zygote import Zygote
from tests.proof import life
from tests.proof.cases import cases
from tests.proof.columns import COLUMNS, REDIS, SCHEDULE
from tests.proof.planted import BUGS
from tests.proof.scenarios import SCENARIOS, Scenario
from tests.proof.schedule import Schedule
from tests.proof.stand import Server, Stand
from tests.proof.trial import Trials

PLACEMENTS = ("apart", "payments-apart", "monolith")

Planned = tuple[str, str, str, Callable[[Trials], list[str]]]
"""Row and column of the table, the name of the case, and how to try it: what is wrong then."""


@dataclass(frozen=True)
class Work:
    """What a lane does in one go: the cases of one way through a workflow, or some random schedules."""

    placement: str
    scenario: type[Scenario] | None
    seeds: tuple[int, ...] = ()


class Proof:
    """Runs cases in lanes, each with a Postgres of its own, and counts what comes of them."""

    def __init__(self, zygote: Zygote, folder: Path, *, only: str = "", plant: str = "") -> None:
        """``only`` tries no cases but those whose name contains it."""
        self.tally = Tally(COLUMNS, absent=[REDIS])
        self.violations: list[str] = []
        self._zygote = zygote
        self._folder = folder
        self._only = only
        self._plant = plant
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()

    def run(self, work: list[Work], *, lanes: int) -> None:
        """Return when all of it is done."""
        for each in work:
            self._work.put(each)
        threads = [threading.Thread(target=self._lane, args=[number]) for number in range(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _lane(self, number: int) -> None:
        folder = self._folder / f"lane-{number}"
        folder.mkdir(mode=0o711)
        with ExitStack() as stack, suppress(queue.Empty):
            server = stack.enter_context(Server(folder))
            while True:
                work = self._work.get_nowait()
                try:
                    self._do(work, server, folder)
                except Exception:  # noqa: BLE001  # whatever it is, it proves nothing
                    self._broken(f"the proof itself fails at {work}", [traceback.format_exc()])

    def _do(self, work: Work, server: Server, folder: Path) -> None:
        with ExitStack() as stack:
            trials = self._trials(work, server, folder, stack)
            for row, column, name, trial in self._planned(work, trials):
                if self._only not in name:
                    continue
                found = trial(trials)
                self.tally.add(row, column, violated=bool(found))
                if found:  # what it has left must not be taken for the next one's
                    self._broken(name, found)
                    stack.close()
                    trials = self._trials(work, server, folder, stack)

    def _planned(self, work: Work, trials: Trials) -> Iterator[Planned]:
        if work.scenario is None:
            row = f"all at once @ {work.placement}"
            points = sorted({point for kind in SCENARIOS for point in trials.points(kind)})
            for seed in work.seeds:
                schedule = Schedule(seed, points)
                name = f"{row}: --placement {work.placement} --seed {seed}: {schedule}"
                yield row, SCHEDULE, name, partial(Trials.run_schedule, schedule=schedule)
            return
        row = f"{work.scenario.workflow} @ {work.placement}"
        points, home = trials.points(work.scenario), trials.home(work.scenario)
        for case in cases(work.scenario, points, home=home):
            name = f"{row} ({work.scenario.way}): {case.name}"
            yield row, case.column, name, partial(Trials.run, kind=work.scenario, case=case)

    def _trials(self, work: Work, server: Server, folder: Path, stack: ExitStack) -> Trials:
        stand = Stand(
            self._zygote, server, work.placement, folder / work.placement, plant=self._plant
        )
        return stack.enter_context(Trials(stack.enter_context(stand)))

    def _broken(self, name: str, found: list[str]) -> None:
        self.violations += [name, *found]
        print(name, *(f"    {each}" for each in found), sep="\n", file=sys.stderr, flush=True)


def main() -> int:
    options = _options()
    zygote = Zygote(life.live)
    folder = Path(tempfile.mkdtemp(prefix="portico-proof-"))
    folder.chmod(0o711)
    began = time.monotonic()
    try:
        proof = Proof(zygote, folder, only=options.only, plant=options.plant)
        placements = [options.placement] if options.placement else PLACEMENTS
        work = [each for placement in placements for each in _work(placement, options)]
        proof.run(work, lanes=options.lanes)
    finally:
        zygote.close()
        shutil.rmtree(folder)
    print(*proof.tally.lines(), sep="\n")
    print("Redis: nothing uses it, so there is nothing to flush.")
    print(f"{time.monotonic() - began:.0f} s")
    print(f"proof: {proof.tally.cases} cases, {proof.tally.violations} violations")
    return 1 if proof.violations else 0


def _work(placement: str, options: argparse.Namespace) -> list[Work]:
    if options.seed is not None:
        return [Work(placement, None, (options.seed,))]
    seeds = tuple(range(1, options.schedules + 1))
    random = [Work(placement, None, seeds)] if seeds else []
    return [*(Work(placement, scenario) for scenario in SCENARIOS), *random]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--placement", choices=PLACEMENTS, help="this one alone")
    parser.add_argument("--plant", choices=BUGS, default="", help="a bug that is to be found")
    parser.add_argument("--seed", type=int, help="this random schedule alone")
    parser.add_argument("--schedules", type=int, default=15, help="so many for each placement")
    parser.add_argument("--lanes", type=int, default=2, help="cases at a time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
