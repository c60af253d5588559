"""The proof of the workflows: every placement, a fault at every boundary of their steps.

    python -m tests.proof.workflows [--placement NAME] [--workflow NAME] [--only TEXT] [--seed NUMBER]
                                    [--list] [--plant BUG]

In real processes, which are really killed, on a real Postgres and a real Redis, which really crash. After each
fault come recovery, the laws of the shop from outside in SQL, and the same request again. Exit code 1 when anything
is wrong, or no case was chosen.
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
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from portico.testing.tally import Tally
from portico.testing.zygote import Zygote
from tests.proof import life
from tests.proof.columns import COLUMNS
from tests.proof.lane import Lane, Work
from tests.proof.placements import PLACEMENTS
from tests.proof.planted import BUGS
from tests.proof.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Sequence


class Proof:
    """Has lanes do work, and counts what comes of it."""

    def __init__(self, *, lists: bool) -> None:
        self.tally = Tally(COLUMNS)
        self._lists = lists
        self.failures = 0
        """Violations, and what could not be tried at all."""
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()

    def run(self, work: Sequence[Work], lanes: Sequence[Lane]) -> None:
        """Return when all of it is done."""
        for each in work:
            self._work.put(each)
        threads = [threading.Thread(target=self._do_all, args=[lane]) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _do_all(self, lane: Lane) -> None:
        with lane, suppress(queue.Empty):
            while True:
                self._do(self._work.get_nowait(), lane)

    def _do(self, work: Work, lane: Lane) -> None:
        try:
            for name, row, column, found in lane.do(work):
                if self._lists:
                    print(f"{name}  [{column}]", flush=True)
                self.tally.add(row, column, violated=bool(found))
                if found:
                    self._tell(name, found)
        except Exception:  # noqa: BLE001  # whatever it is: it proves nothing, and the rest goes on
            self._tell(f"{work} could not be done", [traceback.format_exc()])
            lane.clear()

    def _tell(self, name: str, found: list[str]) -> None:
        self.failures += 1
        print(name, *(f"    {each}" for each in found), sep="\n", file=sys.stderr, flush=True)


def main() -> int:
    """Run what the command line asks for, and print the table; the exit code."""
    options = _options()
    zygote = Zygote(life.live)  # before anything else: it must have no thread
    folder = Path(tempfile.mkdtemp(prefix="portico-proof-"))
    folder.chmod(0o711)
    began = time.monotonic()
    proof = Proof(lists=options.list)
    try:
        lanes = [
            Lane(
                zygote,
                folder / f"lane-{number}",
                only=options.only,
                plant=options.plant,
                dry=options.list,
            )
            for number in range(options.lanes)
        ]
        proof.run(_work(options), lanes)
    finally:
        zygote.close()
        shutil.rmtree(folder)
    if not proof.tally.cases:
        print("proof: no case has such a name; --list shows all", file=sys.stderr)
        return 1
    if options.list:
        return 0
    print(*proof.tally.lines(), sep="\n")
    print(f"{time.monotonic() - began:.0f} s")
    print(f"proof: {proof.tally.cases} cases, {proof.tally.violations} violations")
    return 1 if proof.failures else 0


def _work(options: argparse.Namespace) -> list[Work]:
    placements = [options.placement] if options.placement else PLACEMENTS
    if options.seed is not None:
        return [Work(placement, seeds=(options.seed,)) for placement in placements]
    chosen = [kind for kind in SCENARIOS if options.workflow in f"{kind.workflow}, {kind.way}"]
    work = []
    for placement in placements:
        work += [Work(placement, kind) for kind in chosen]
        if not options.workflow:
            work.append(Work(placement, seeds=tuple(range(1, options.schedules + 1))))
    return work


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The proof of the workflows.")
    parser.add_argument("--placement", choices=PLACEMENTS, help="this one alone")
    parser.add_argument("--workflow", default="", help="those whose name contains this")
    parser.add_argument("--only", default="", help="cases whose name or column contains this")
    parser.add_argument("--list", action="store_true", help="print the cases, and try none")
    parser.add_argument("--seed", type=int, help="this random schedule alone")
    parser.add_argument("--schedules", type=int, default=15, help="so many for each placement")
    parser.add_argument("--plant", choices=BUGS, default="", help="a bug that is to be found")
    parser.add_argument("--lanes", type=int, default=2, help="so many cases at a time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
