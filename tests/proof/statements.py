"""The proof of the two strategies: one order, in one transaction while the modules live together, and as a saga apart.

    python -m tests.proof.statements [--plant undo | --plant steps]

In real processes, by REST. Prints what Postgres has logged of the order, and what is left of it when any one of its
steps fails. Exit code 1 unless there is one COMMIT together, several apart, and nothing left behind.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico.testing.zygote import Zygote
from tests.journeys.shopper import new_key
from tests.proof import life, listing, same_source
from tests.proof.refusals import REFUSALS, Tried, make_scarce, refuse, rest
from tests.proof.run_log import Entry, RunLog, inspect
from tests.proof.server import Server, connected
from tests.proof.sql_log import SqlLog, Work, log_everything, mark_statements, writers_of
from tests.proof.stand import Stand

if TYPE_CHECKING:
    from portico.testing.faults import Faults

_TOGETHER, _APART = "monolith", "apart"
_REQUEST = "the-order"


@dataclass(frozen=True)
class Shown:
    """What one topology has shown.

    ``writers`` are the transactions that the rows of the order bear; ``entries`` those of the workflow log, by theirs.
    """

    topology: str
    source: str
    works: list[Work]
    writers: set[int]
    entries: dict[int, Entry]
    inspected: str
    tried: list[Tried]
    undone: list[list[Entry]]
    wrong: list[str]

    @property
    def commits(self) -> int:
        """How many the order took."""
        return sum(work.ended == "COMMIT" for work in self.works)

    @property
    def strangers(self) -> set[int]:
        """Transactions that have written the order, and that the log does not have among its own."""
        return self.writers - {work.xid for work in self.works if work.ended == "COMMIT"}

    @property
    def left(self) -> int:
        """Rows that failing steps have left behind."""
        return sum(each.difference.left.total() for each in self.tried)


def measure(plant: str = "") -> list[Shown]:
    """Place the order, and fail at each step, in both topologies. To be called before there is any thread."""
    zygote = Zygote(_live)
    folder = Path(tempfile.mkdtemp(prefix="portico-proof-"))
    folder.chmod(0o711)
    try:
        with Server(folder) as server:
            with connected(server.url) as outside:
                log_everything(outside)
            found = []
            for topology in (_TOGETHER, _APART):
                with Stand(zygote, server, topology, folder / topology, plant=plant) as stand:
                    found.append(_show(stand, topology))
            return found
    finally:
        zygote.close()
        shutil.rmtree(folder)


def _live(told: dict[str, Any], faults: Faults) -> None:
    mark_statements()
    life.live(told, faults)
    same_source.tell()


def _show(stand: Stand, topology: str) -> Shown:
    make_scarce(stand)
    wrong = rest(stand)
    sql, runs = SqlLog(stand.outside), RunLog(stand.outside)
    answer = stand.customer.send(
        "POST",
        "/api/v1/orders",
        stand.customer.basket(),
        Idempotency_Key=new_key(),
        X_Request_Id=_REQUEST,
    )
    if answer.status != 201:
        raise RuntimeError(f"the order was answered {answer.status} {answer.json}")
    works, entries = sql.of(_REQUEST), runs.of_all()
    writers = writers_of(stand.outside, answer.json)
    last = list(entries.values())[-1:]
    inspected = inspect(last[0].run_id, stand.url) if last else ""
    tried = [refuse(stand, each, may_mark=topology == _APART) for each in REFUSALS]
    wrong += [f"{each.refusal.step}: {why}" for each in tried for why in each.wrong]
    source = same_source.told(stand.processes.log(stand.processes.home("orders")))
    return Shown(
        topology, source, works, writers, entries, inspected, tried, runs.of_undone(), wrong
    )


def judge(shown: list[Shown]) -> list[str]:
    """Everything that is not as it should be."""
    together, apart = shown
    found = [f"{each.topology}: {why}" for each in shown for why in each.wrong]
    if together.commits != 1:
        found.append(f"{together.topology}: one order took {together.commits} commits")
    if apart.commits < 2:  # then it is no saga
        found.append(f"{apart.topology}: one order took {apart.commits} commits")
    found += [
        f"{each.topology}: rows of the order are from other transactions: {each.strangers}"
        for each in shown
        if each.strangers
    ]
    if together.entries:
        found.append(f"{together.topology}: the workflow log was written")
    if not apart.entries:
        found.append(f"{apart.topology}: the workflow log was not written")
    found += [f"{each.topology}: {each.left} rows left behind" for each in shown if each.left]
    if not together.source or together.source != apart.source:
        found.append("the two placements did not run the same source")
    steps = same_source.steps()
    if [each.step for each in REFUSALS] != steps:
        found.append(f"the steps are {steps}, and some of them were not made to fail")
    return found + same_source.sighted(same_source.read())


def main() -> int:
    """Print all of it; the exit code."""
    parser = argparse.ArgumentParser(description="The proof of the two strategies.")
    parser.add_argument(
        "--plant", choices=("undo", "steps"), default="", help="a bug that is found"
    )
    shown = measure(parser.parse_args().plant)
    found = judge(shown)
    together, apart = shown
    marks = sum((each.difference.marks for each in apart.tried), Counter[str]())
    print(*same_source.lines(together.source), "", sep="\n")
    print(*listing.together(together.works, together.writers), "", sep="\n")
    steps = same_source.steps()
    print(*listing.apart(apart.works, apart.entries, apart.writers, steps), "", sep="\n")
    print(*listing.run(apart.inspected), "", sep="\n")
    print(*listing.refusals({each.topology: each.tried for each in shown}), "", sep="\n")
    print(*listing.undone(apart.undone), "", sep="\n")
    print(*listing.marks(marks), "", sep="\n")
    for each in found:
        print(each, file=sys.stderr)
    failing = sum(tried.failed_there for topology in shown for tried in topology.tried)
    left = sum(topology.left for topology in shown)
    print(
        f"statements: {together.commits} commits together, {apart.commits} apart;"
        f" {failing} failing steps, {left} rows left behind"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
