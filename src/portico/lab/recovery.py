"""Workflow runs whose processes were killed half way, finished by two workers.

The workflow is ``portico.lab.travel.trips``, with the callee in a process of its own. A process begins
``RUNS_PER_KILL`` runs; each comes to one of four places and stays there: before the first of its three
commands, or after the first, second or third one, whose answer nobody will ever note. Half of them have
the answers before that one in their log. When all are under way the process is killed with SIGKILL, and
the next one begins, until there are enough. So every run is abandoned by a process that was really
killed, at a place that is chosen and not met by chance.

Then, when their leases have ended, two ``portico worker`` are started, and nothing else. Measured is the
time from their start to the end of the last run. In the end every effect is counted with SQL.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from portico.lab import abandoning, machine
from portico.lab.travel import neighbour, trips
from portico.lab.travel.site import Site
from portico.lab.travel.worker import WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path

RUNS = 10_000
RUNS_PER_KILL = 500
WORKERS = 2

_PATIENCE_SECONDS = 60
_PATIENCE_PER_RUN_SECONDS = 0.1
_LOOK_SECONDS = 0.1


def main(json_path: Path | None, *, runs: int = RUNS) -> int:
    """Measure, print, and write the numbers to ``json_path`` if there is one; 1 when anything is wrong."""
    found = measure(runs=runs)
    where = ", ".join(f"{count} {place}" for place, count in found["abandoned"].items())
    print(
        f"{found['runs']} runs abandoned by {found['kills']} processes that were killed,"
        f" in {found['abandoning_seconds']:.0f} s: {where}"
    )
    print(f"leases ended {found['waited_seconds']:.0f} s after the last kill")
    ended = ", ".join(f"{count} {status}" for status, count in found["ended"].items())
    print(
        f"{WORKERS} workers: {ended} in {found['seconds']:.1f} s with their start:"
        f" {found['runs_per_second']:.0f} a second, {found['runs_per_second_at_work'] or 0:.0f} once at work;"
        f" {found['commands_repeated']} commands were sent again"
    )
    wrong = found["violations"]
    print(f"every effect counted: {'; '.join(wrong) or 'each there, and once'}")
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if wrong else 0


def measure(*, runs: int = RUNS) -> dict[str, Any]:
    """The numbers; takes about a minute and a half for as many runs as there are by default."""
    with Site() as site, site.process(neighbour.__name__):
        began = time.monotonic()
        kills, abandoned = _abandon(site, runs)
        killed = time.monotonic()
        _await_leases(site)
        waited = time.monotonic()
        seconds = _finish(site, runs)
        return {
            "machine": machine.described(),
            "runs": runs,
            "kills": kills,
            "abandoned": abandoned,
            "abandoning_seconds": killed - began,
            "waited_seconds": waited - killed,
            "workers": WORKERS,
            "seconds": seconds,
            "runs_per_second": runs / seconds,
            "runs_per_second_at_work": site.rows(_RATE)[0][0],
            "ended": dict(site.rows(_ENDED)),
            "commands_repeated": site.rows(_REPEATED)[0][0],
            "violations": violations(site, runs=runs),
        }


def violations(site: Site, *, runs: int) -> list[str]:
    """What is wrong once every run has ended: all its effects happened, each of them once."""
    found = []
    for sentence, statement in _LAWS.items():
        count = site.rows(statement)[0][0]
        if count:
            found.append(f"{count} {sentence}")
    booked = site.rows("SELECT count(*) FROM trips.workflow_runs WHERE status = 'DONE'")[0][0]
    if booked != runs:
        found.append(f"{runs} runs were begun, {booked} are done")
    return found


def _abandon(site: Site, runs: int) -> tuple[int, dict[str, int]]:
    """Have them begun and their processes killed: how many were, and where the runs stood."""
    abandoned: Counter[str] = Counter()
    kills = 0
    while (left := runs - abandoned.total()) > 0:
        process = site.process(abandoning.__name__, str(min(left, RUNS_PER_KILL)))
        process.start()
        process.kill()
        abandoned.update(process.told)
        kills += 1
    running = site.rows("SELECT count(*) FROM trips.workflow_runs WHERE status = 'RUNNING'")[0][0]
    if running != runs:
        raise RuntimeError(f"{runs} runs were to be abandoned, and {running} are")
    return kills, dict(abandoned)


def _await_leases(site: Site) -> None:
    while site.rows("SELECT count(*) FROM trips.workflow_runs WHERE lease_until > now()")[0][0]:
        time.sleep(_LOOK_SECONDS)


def _finish(site: Site, runs: int) -> float:
    """Start the workers and wait until nothing is left for them; the seconds that took."""
    began = time.monotonic()
    until = began + _PATIENCE_SECONDS + runs * _PATIENCE_PER_RUN_SECONDS
    with ExitStack() as stack:
        workers = [stack.enter_context(WorkerProcess(site, trips.NAME)) for _ in range(WORKERS)]
        for worker in workers:
            worker.await_start()
        while time.monotonic() < until:
            if not site.rows(_IS_LEFT)[0][0]:
                break
            time.sleep(_LOOK_SECONDS)
        return time.monotonic() - began


_IS_LEFT = "SELECT EXISTS (SELECT FROM trips.workflow_runs WHERE status = 'RUNNING')"
_ENDED = "SELECT status, count(*) FROM trips.workflow_runs GROUP BY status ORDER BY status"
# Between the first end and the last one.
_RATE = """
SELECT ((count(*) - 1) / nullif(extract(epoch FROM max(updated_at) - min(updated_at)), 0))::float
FROM trips.workflow_runs WHERE status = 'DONE'
"""
_REPEATED = "SELECT coalesce(sum(asked - 1), 0)::bigint FROM reservations.reservations"

_LAWS = {
    "trips were not opened exactly once, or not closed exactly once": """
SELECT count(*) FROM (
    SELECT run.subject FROM trips.workflow_runs AS run
    LEFT JOIN trips.diary AS entry ON entry.trip_id = run.subject
    GROUP BY run.subject
    HAVING count(*) FILTER (WHERE what = 'opened') <> 1
        OR count(*) FILTER (WHERE what = 'closed') <> 1 OR count(*) <> 2) AS wrong
""",
    "trips do not have exactly three reservations": """
SELECT count(*) FROM (
    SELECT run.subject FROM trips.workflow_runs AS run
    LEFT JOIN reservations.reservations AS kept ON kept.trip_id = run.subject
    GROUP BY run.subject
    HAVING count(kept.leg) FILTER (WHERE NOT kept.released) <> 3) AS wrong
""",
    "reservations were made more than once": """
SELECT count(*) FROM reservations.reservations WHERE made <> 1
""",
    "trips were closed without the codes that they were to keep": """
SELECT count(*) FROM trips.diary JOIN trips.workflow_runs ON subject = trip_id
WHERE what = 'closed' AND codes <> CASE WHEN (state ->> 'keep_codes')::boolean
    THEN ARRAY['flight of ' || trip_id, 'hotel of ' || trip_id, 'car of ' || trip_id] ELSE '{}' END
""",
    "entries or reservations belong to no run": """
SELECT count(*) FROM (SELECT trip_id FROM trips.diary UNION ALL SELECT trip_id FROM reservations.reservations)
    AS effect WHERE trip_id NOT IN (SELECT subject FROM trips.workflow_runs)
""",
}
